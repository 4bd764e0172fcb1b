/** What was given and no rule reads: counted by kind, so that silence about it is not taken for "nothing found". */

import type { KubeObject, Resource } from '@meshpass/istio';
import { listed } from '@meshpass/istio/members';

export interface UnreadKind {
  readonly apiVersion: string;
  readonly kind: string;
  /** Objects of it; absent where the cluster has the kind and does not let it be listed. */
  readonly count?: number;
}

/** Kinds that are understood elsewhere, and of which no rule of the linter asks. */
const READ_BY_NO_RULE: ReadonlySet<Resource['kind']> = new Set(['KubernetesGateway', 'ServiceAccount']);

/**
 * @param resources what is understood
 * @param others objects of kinds that are not
 * @param unlisted kinds of a cluster that could not be listed
 */
export function unreadKinds(
  resources: readonly Resource[],
  others: readonly KubeObject[],
  unlisted: readonly UnreadKind[] = [],
): readonly UnreadKind[] {
  const counts = new Map<string, UnreadKind & { count: number }>();
  for (const { apiVersion, kind } of [...resources.filter(isUnread), ...others]) {
    const written = kind === 'KubernetesGateway' ? 'Gateway' : kind;
    const key = `${written} ${apiVersion}`;
    const known = counts.get(key) ?? { apiVersion, kind: written, count: 0 };
    counts.set(key, { ...known, count: known.count + 1 });
  }
  return [...counts.values(), ...unlisted].sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
}

/** `2 HTTPRoute (gateway.networking.k8s.io/v1), 1 Ingress (networking.k8s.io/v1)`. */
export function describeUnread(kinds: readonly UnreadKind[]): string {
  const named = kinds.map(({ apiVersion, kind, count }) => `${count ?? 'unlisted'} ${kind} (${apiVersion})`);
  return listed(named, MOST_NAMED);
}

/** Files may hold any number of invented kinds. */
const MOST_NAMED = 30;

/** Of ConfigMaps the mesh's own configuration alone is read. */
function isUnread({ kind, metadata }: Resource): boolean {
  return READ_BY_NO_RULE.has(kind) || (kind === 'ConfigMap' && metadata.name !== 'istio');
}

function keyOf({ apiVersion, kind }: UnreadKind): string {
  return `${kind} ${apiVersion}`;
}
