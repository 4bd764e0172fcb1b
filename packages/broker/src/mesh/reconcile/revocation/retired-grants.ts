/**
 * Retires grants that were removed from the access file. The guard and the rules of such a grant are removed, but its
 * SVIDs remain valid for some time, so its namespace is denied everywhere until they have expired. The end of this
 * period is stored in the policy itself so that it survives a restart.
 */
import { z } from 'zod';
import type { Kubernetes } from '../../kubernetes/kubernetes.ts';
import { denyPolicy, REVOCATIONS } from './deny-policy.ts';

export const RETIRED_POLICY_NAME = 'meshpass-retired';
const UNTIL = 'meshpass.dev/retired-until';
const Until = z.record(z.string(), z.number());

/**
 * Computes the new DENY policy for the namespaces of retired grants.
 * @param gone the namespaces of grants that exist in the cluster but are no longer wanted
 * @param wanted the namespaces of all wanted grants, including grants that have been added again
 * @param life the maximum remaining lifetime of an SVID, in seconds
 * @returns the policy, and the time of the next change in Unix seconds. The policy is undefined if no namespace is
 *   retired, in which case it can be removed.
 */
export function retirementPolicy(
  current: ReadonlyMap<string, number>,
  gone: readonly string[],
  wanted: ReadonlySet<string>,
  at: { readonly now: number; readonly life: number; readonly rootNamespace: string },
) {
  const until = new Map([...current].filter(([namespace, end]) => end > at.now && !wanted.has(namespace)));
  for (const namespace of gone) if (!until.has(namespace)) until.set(namespace, at.now + at.life);
  if (until.size === 0) return { policy: undefined, nextChange: undefined };
  const namespaces = [...until.keys()].sort();
  const annotations = { [UNTIL]: JSON.stringify(Object.fromEntries(namespaces.map((one) => [one, until.get(one)!]))) };
  return {
    policy: denyPolicy(RETIRED_POLICY_NAME, at.rootNamespace, { namespaces }, annotations),
    nextChange: Math.min(...until.values()),
  };
}

/**
 * Reads the retired namespaces from the cluster. The values are the times at which their denials end, in Unix seconds.
 */
export async function readRetiredNamespaces(
  kubernetes: Pick<Kubernetes, 'list'>,
  rootNamespace: string,
): Promise<ReadonlyMap<string, number>> {
  const policies = await kubernetes.list('AuthorizationPolicy', REVOCATIONS, rootNamespace);
  const annotation = policies.find(({ metadata }) => metadata.name === RETIRED_POLICY_NAME)?.metadata.annotations?.[
    UNTIL
  ];
  if (annotation === undefined) return new Map();
  try {
    return new Map(Object.entries(Until.parse(JSON.parse(annotation))));
  } catch {
    return new Map(); // the annotation was edited by hand, so its author is responsible for the duration
  }
}
