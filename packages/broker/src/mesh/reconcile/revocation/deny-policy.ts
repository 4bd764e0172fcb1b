/**
 * Builds and maintains the DENY policies in the root namespace for sessions that have ended and grants that were
 * removed. The broker writes them in addition to the compiled policies and keeps them until the last affected SVID has
 * expired.
 */
import { isDeepStrictEqual } from 'node:util';
import { MANAGED_BY, MANAGED_BY_LABEL, type Manifest } from '@meshpass/access';
import type { Kubernetes, ListedObject } from '../../kubernetes/kubernetes.ts';

/**
 * The label that distinguishes these policies from compiled ones. Compiled policies are removed when the access file no
 * longer needs them.
 */
const COMPONENT_LABEL = 'app.kubernetes.io/component';
const REVOCATION = 'revocation';
export const OURS = `${MANAGED_BY_LABEL}=${MANAGED_BY}`;
export const REVOCATIONS = `${OURS},${COMPONENT_LABEL}=${REVOCATION}`;
export const COMPILED_POLICY_SELECTOR = `${OURS},${COMPONENT_LABEL}!=${REVOCATION}`;

/**
 * Builds a DENY policy that rejects all requests from a source.
 * @param source a source as defined by Istio's AuthorizationPolicy, with `principals` or `namespaces`. An empty list
 *   does not deny anything.
 */
export function denyPolicy(
  name: string,
  namespace: string,
  source: { readonly principals: readonly string[] } | { readonly namespaces: readonly string[] },
  annotations?: Readonly<Record<string, string>>,
): Manifest {
  const labels = { [MANAGED_BY_LABEL]: MANAGED_BY, [COMPONENT_LABEL]: REVOCATION };
  return {
    apiVersion: 'security.istio.io/v1',
    kind: 'AuthorizationPolicy',
    metadata: { name, namespace, labels, ...(annotations && { annotations }) },
    spec: { action: 'DENY', rules: [{ from: [{ source }] }] },
  };
}

// Maintains DENY policies in the root namespace that all list the same kind of entry. The policies in the cluster serve
// as the record of denied entries, so they do not have to be written again after a restart. This is important because
// every write makes all Envoys in the mesh drain their connections.

export interface DenyPoliciesOptions {
  readonly kubernetes: Pick<Kubernetes, 'apply' | 'remove' | 'list'>;
  readonly rootNamespace: string;
  /** Returns the current time in Unix seconds. */
  readonly now: () => number;
}

/** A policy that exists in the cluster, and the entries in it. */
interface Written {
  readonly entries: readonly string[];
  readonly object: ListedObject;
}

/**
 * How often the policies are read from the cluster again, in seconds. Someone else may have changed them, or a late
 * write by the previously active broker may have arrived.
 */
const REREAD_SECONDS = 30;
/**
 * The maximum number of entries per policy. Envoy scans the entire list, and a Kubernetes object is limited to 1.5 MB.
 * This many entries with the longest possible names take up 250 KB.
 */
const ENTRIES_PER_POLICY = 400;

/**
 * Creates a set of DENY policies for one kind of entry.
 * @param base the name of the first policy. Additional policies are named BASE-1, BASE-2 and so on.
 * @param entriesIn returns the entries that a policy contains
 */
export function createDenyPolicies(
  { kubernetes, rootNamespace, now }: DenyPoliciesOptions,
  base: string,
  entriesIn: (policy: ListedObject) => readonly string[],
) {
  /** The known policies by name. Undefined until they have been read, and again after a failure. */
  let known: ReadonlyMap<string, Written> | undefined;
  let readAt = 0;
  const read = async () => {
    const found = await kubernetes.list('AuthorizationPolicy', REVOCATIONS, rootNamespace);
    const own = found.filter(({ metadata: { name } }) => name === base || name.startsWith(`${base}-`));
    return new Map(
      own.map((object): [string, Written] => [object.metadata.name, { entries: entriesIn(object), object }]),
    );
  };
  /**
   * Writes a policy. Server-side apply keeps fields that other writers have set, so if those disable the policy, it is
   * deleted and created again.
   */
  const write = async (policy: Manifest, found: ListedObject | undefined) => {
    const isOff = found !== undefined && isDisabled(found, policy);
    if (isOff) await kubernetes.remove(policy);
    if (isOff || !isDeepStrictEqual(found?.spec, policy.spec)) await kubernetes.apply(policy);
  };
  return {
    /** Reads the policies from the cluster and returns them by name. */
    read,
    /**
     * Updates the policies so that they list exactly these entries. This is idempotent and works from any state, but
     * must not run concurrently.
     */
    apply: async (entries: readonly string[], policyOf: (name: string, entries: readonly string[]) => Manifest) => {
      if (now() - readAt >= REREAD_SECONDS) known = undefined;
      const before: ReadonlyMap<string, Written> = known ?? (await read());
      if (!known) readAt = now();
      known = undefined;
      const after = new Map<string, Written>();
      // Entries are added before others are removed so that every entry is in a policy at all times.
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

/**
 * Metadata that keeps Istio from enforcing a policy everywhere, because it marks the policy as a dry run or limits it
 * to one revision of istiod.
 */
const DRY_RUN = 'istio.io/dry-run';
const REVISION = 'istio.io/rev';

/**
 * Whether fields set by other writers keep Istio from enforcing the policy everywhere. A policy that has lost the
 * broker's labels does not appear in the list, so it is written again in any case.
 */
function isDisabled({ spec, metadata: { labels, annotations } }: ListedObject, policy: Manifest): boolean {
  const wanted = Object.keys(policy.spec ?? {});
  const isNarrowed = Object.keys(spec ?? {}).some((field) => !wanted.includes(field));
  const dryRun = annotations?.[DRY_RUN];
  return isNarrowed || labels?.[REVISION] !== undefined || (dryRun !== undefined && dryRun !== 'false');
}

/**
 * Splits a long list of entries across policies. Entries stay in the policy they are in, so adding or removing an entry
 * only changes one policy.
 * @returns the new entries of each policy that is not empty
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
