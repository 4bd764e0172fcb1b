/**
 * DENY policies in the root namespace that all list the same kind of entry. The policies in the cluster are the record
 * of denied entries, so a restart does not have to rewrite them. This matters because each write makes every Envoy in
 * the mesh drain its connections.
 */
import { isDeepStrictEqual } from 'node:util';
import type { Manifest } from '@meshpass/access';
import type { Kubernetes, ListedObject } from '../../kubernetes/kubernetes.ts';
import { REVOCATIONS } from './deny-policy.ts';

export interface DenyPoliciesOptions {
  readonly kubernetes: Pick<Kubernetes, 'apply' | 'remove' | 'list'>;
  readonly rootNamespace: string;
  /** Returns the current time, Unix seconds. */
  readonly now: () => number;
}

/** Policy in the cluster, with its entries. */
interface Written {
  readonly entries: readonly string[];
  readonly object: ListedObject;
}

export type DenyPolicies = ReturnType<typeof createDenyPolicies>;

/**
 * Interval at which the policies are read from the cluster again. Others may have changed them, or a previously active
 * broker may have written late.
 */
const REREAD_SECONDS = 30;
/**
 * Maximum number of entries per policy. Envoy scans the list, and a Kubernetes object may have at most 1.5 MB. The
 * longest names need 250 KB.
 */
const ENTRIES_PER_POLICY = 400;

/**
 * Creates the policies for one kind of entry.
 * @param base name of the first policy. Additional policies are named BASE-1, BASE-2 and so on
 * @param entriesIn reads the entries of a policy
 */
export function createDenyPolicies(
  { kubernetes, rootNamespace, now }: DenyPoliciesOptions,
  base: string,
  entriesIn: (policy: ListedObject) => readonly string[],
) {
  /** Known policies by name. Undefined until they have been read, and after a failure. */
  let known: ReadonlyMap<string, Written> | undefined;
  let readAt = 0;
  const read = async () => {
    const found = await kubernetes.list('AuthorizationPolicy', REVOCATIONS, rootNamespace);
    const own = found.filter(({ metadata: { name } }) => name === base || name.startsWith(`${base}-`));
    return new Map(
      own.map((object): [string, Written] => [object.metadata.name, { entries: entriesIn(object), object }]),
    );
  };
  /** Writes a policy. Server-side apply keeps fields of other writers, so a policy they disabled is created again. */
  const write = async (policy: Manifest, found: ListedObject | undefined) => {
    const isOff = found !== undefined && isDisabled(found, policy);
    if (isOff) await kubernetes.remove(policy);
    if (isOff || !isDeepStrictEqual(found?.spec, policy.spec)) await kubernetes.apply(policy);
  };
  return {
    /** Reads the policies from the cluster, by name. */
    read,
    /**
     * Updates the policies so that they list exactly these entries. Idempotent and converges from any state, but must
     * not run concurrently.
     */
    apply: async (entries: readonly string[], policyOf: (name: string, entries: readonly string[]) => Manifest) => {
      if (now() - readAt >= REREAD_SECONDS) known = undefined;
      const before: ReadonlyMap<string, Written> = known ?? (await read());
      if (!known) readAt = now();
      known = undefined;
      const after = new Map<string, Written>();
      // Entries are added before others are removed, so that every entry is in a policy at all times.
      for (const [name, own] of shardEntries(base, before, entries)) {
        const policy = policyOf(name, own);
        await write(policy, before.get(name)?.object);
        after.set(name, { entries: own, object: policy });
      }
      for (const name of before.keys())
        if (!after.has(name))
          await kubernetes.remove({ kind: 'AuthorizationPolicy', metadata: { name, namespace: rootNamespace } });
      known = after;
    },
  };
}

/** Metadata that prevents Istio from enforcing a policy everywhere: a dry run, or a single revision of istiod. */
const DRY_RUN = 'istio.io/dry-run';
const REVISION = 'istio.io/rev';

/**
 * Whether fields of other writers prevent Istio from enforcing the policy everywhere. A policy that has lost the
 * broker's labels is not listed, so it is written again anyway.
 */
function isDisabled({ spec, metadata: { labels, annotations } }: ListedObject, policy: Manifest): boolean {
  const wanted = Object.keys(policy.spec ?? {});
  const isNarrowed = Object.keys(spec ?? {}).some((field) => !wanted.includes(field));
  const dryRun = annotations?.[DRY_RUN];
  return isNarrowed || labels?.[REVISION] !== undefined || (dryRun !== undefined && dryRun !== 'false');
}

/**
 * Splits a long list across policies. Every entry stays in its policy, so that adding or removing an entry rewrites
 * only one policy.
 * @returns new entries of every policy that is not empty
 */
function shardEntries(
  base: string,
  before: ReadonlyMap<string, Written>,
  wanted: readonly string[],
): ReadonlyMap<string, readonly string[]> {
  const missing = new Set(wanted);
  const after = new Map<string, string[]>();
  for (const [name, { entries }] of before) {
    const kept = entries.filter((entry) => missing.delete(entry));
    if (kept.length > 0) after.set(name, kept);
  }
  for (let number = 0; missing.size > 0; number += 1) {
    const name = number === 0 ? base : `${base}-${number}`;
    const held = after.get(name) ?? [];
    const added = [...missing].slice(0, Math.max(0, ENTRIES_PER_POLICY - held.length));
    for (const entry of added) missing.delete(entry);
    if (added.length > 0) after.set(name, [...held, ...added]);
  }
  return after;
}
