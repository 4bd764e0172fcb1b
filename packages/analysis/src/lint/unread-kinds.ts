/**
 * Counts the objects that no rule checks, by kind, so that the absence of findings is not mistaken for a successful
 * check.
 */

import type { KubeObject, Resource } from '@meshpass/istio';
import { listed } from '@meshpass/istio/members';

export interface UnreadKind {
  readonly apiVersion: string;
  readonly kind: string;
  /** Number of objects. Absent if the cluster has the kind but does not permit listing it. */
  readonly count?: number;
}

/** Kinds that other commands read but no lint rule checks. */
const READ_BY_NO_RULE: ReadonlySet<Resource['kind']> = new Set(['ServiceAccount']);

/**
 * Counts the kinds that no rule checks.
 * @param resources objects of supported kinds
 * @param others objects of unsupported kinds
 * @param unlisted cluster kinds that could not be listed
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

/** Formats kinds as `2 UDPRoute (gateway.networking.k8s.io/v1alpha2), 1 NetworkPolicy (networking.k8s.io/v1)`. */
export function describeUnreadKinds(kinds: readonly UnreadKind[]): string {
  const named = kinds.map(({ apiVersion, kind, count }) => `${count ?? 'unlisted'} ${kind} (${apiVersion})`);
  return listed(named, MOST_NAMED);
}

/** Maximum number of kinds listed, because files may contain any number of made-up kinds. */
const MOST_NAMED = 30;

/** Whether no rule checks the object. The only ConfigMap that rules read is the mesh configuration. */
function isUnread({ kind, metadata }: Resource): boolean {
  return READ_BY_NO_RULE.has(kind) || (kind === 'ConfigMap' && metadata.name !== 'istio');
}

function keyOf({ apiVersion, kind }: UnreadKind): string {
  return `${kind} ${apiVersion}`;
}
