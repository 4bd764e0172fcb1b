/**
 * A grant that has left the access file: its guard and rules go, but its SVIDs live on for minutes. Until then its
 * whole namespace is denied, everywhere. The time is kept on the policy itself, so a restart does not lose it.
 */
import type { Manifest } from '@meshpass/access';
import { z } from 'zod';
import type { Kubernetes } from '../../kubernetes/kubernetes.ts';
import { denyPolicy, REVOCATIONS } from './deny-policy.ts';

export interface Retirement {
  /** Undefined: nothing is retired, and the policy may go. */
  readonly policy: Manifest | undefined;
  /** Unix seconds of the next change, undefined where there is none to come. */
  readonly nextChange: number | undefined;
}

export const RETIRED = 'meshpass-retired';
const UNTIL = 'meshpass.dev/retired-until';
const Until = z.record(z.string(), z.number());

/**
 * @param gone namespaces of grants that are in the cluster and no longer wanted
 * @param wanted namespaces of grants that are wanted, also again
 * @param life seconds that an SVID may still live
 */
export function retire(
  current: ReadonlyMap<string, number>,
  gone: readonly string[],
  wanted: ReadonlySet<string>,
  at: { readonly now: number; readonly life: number; readonly rootNamespace: string },
): Retirement {
  const until = new Map([...current].filter(([namespace, end]) => end > at.now && !wanted.has(namespace)));
  for (const namespace of gone) if (!until.has(namespace)) until.set(namespace, at.now + at.life);
  if (until.size === 0) return { policy: undefined, nextChange: undefined };
  const namespaces = [...until.keys()].sort();
  const annotations = { [UNTIL]: JSON.stringify(Object.fromEntries(namespaces.map((one) => [one, until.get(one)!]))) };
  return {
    policy: denyPolicy(RETIRED, at.rootNamespace, { namespaces }, annotations),
    nextChange: Math.min(...until.values()),
  };
}

/** What is retired in the cluster now: namespace to Unix seconds. */
export async function readRetired(
  kubernetes: Pick<Kubernetes, 'list'>,
  rootNamespace: string,
): Promise<ReadonlyMap<string, number>> {
  const policies = await kubernetes.list('AuthorizationPolicy', REVOCATIONS, rootNamespace);
  const annotation = policies.find(({ metadata }) => metadata.name === RETIRED)?.metadata.annotations?.[UNTIL];
  if (annotation === undefined) return new Map();
  try {
    return new Map(Object.entries(Until.parse(JSON.parse(annotation))));
  } catch {
    return new Map(); // somebody rewrote it: namespaces that are gone were denied long enough by who did
  }
}
