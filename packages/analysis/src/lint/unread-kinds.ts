/**
 * Counts the objects that no rule checks, by kind, so that a lack of findings is not mistaken for a successful check.
 */

import type { KubeObject, Resource } from '@meshpass/istio';
import { listed } from '@meshpass/istio/members';

export interface UnreadKind {
  readonly apiVersion: string;
  readonly kind: string;
  /** The number of objects. Missing if the cluster has this kind but does not allow listing its objects. */
  readonly count?: number;
}

/** Kinds that other commands read, but that no lint rule checks. */
const READ_BY_NO_RULE: ReadonlySet<Resource['kind']> = new Set(['ServiceAccount']);

/**
 * Counts the objects of each kind that no rule checks.
 * @param resources the objects of supported kinds
 * @param others the objects of unsupported kinds
 * @param unlisted the kinds in the cluster that could not be listed
 */
export function countUnreadKinds(
  resources: readonly Resource[],
  others: readonly KubeObject[],
  unlisted: readonly UnreadKind[] = [],
): readonly UnreadKind[] {
  const counts = new Map<string, UnreadKind & { count: number }>();
  for (const { apiVersion, kind } of [...resources.filter(isUnread), ...others]) {
    const key = `${kind} ${apiVersion}`;
    const known = counts.get(key) ?? { apiVersion, kind, count: 0 };
    counts.set(key, { ...known, count: known.count + 1 });
  }
  return [...counts.values(), ...unlisted].sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
}

/**
 * Formats kinds and their counts, for example `2 UDPRoute (gateway.networking.k8s.io/v1alpha2), 1 NetworkPolicy
 * (networking.k8s.io/v1)`.
 */
export function describeUnreadKinds(kinds: readonly UnreadKind[]): string {
  const named = kinds.map(({ apiVersion, kind, count }) => `${count ?? 'unlisted'} ${kind} (${apiVersion})`);
  return listed(named, MOST_NAMED);
}

/** The maximum number of kinds to list, because files can contain any number of made-up kinds. */
const MOST_NAMED = 30;

/** Returns true if no rule checks the object. The only ConfigMap that rules read is the mesh configuration. */
function isUnread({ kind, metadata }: Resource): boolean {
  return READ_BY_NO_RULE.has(kind) || (kind === 'ConfigMap' && metadata.name !== 'istio');
}

function keyOf({ apiVersion, kind }: UnreadKind): string {
  return `${kind} ${apiVersion}`;
}
