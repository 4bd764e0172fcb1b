/** Which of several objects is the oldest: istiod prefers it wherever two say different things about the same. */
import type { KubeObject } from './object.ts';

type Aged = Pick<KubeObject, 'metadata'>;

/**
 * Objects in the order of istiod: by the time of their creation, then by name, then by namespace. An object without a time is not in
 * the cluster yet. It will get the time at which it is created, so it is younger than all that are there.
 * Source: `sortConfigByCreationTime` in pilot/pkg/model/config.go; the API server sets `creationTimestamp` (Kubernetes API conventions, "Metadata").
 * @example
 * ```ts
 * import { oldestFirst } from '@meshpass/istio';
 * const young = { metadata: { name: 'a', namespace: 'shop', creationTimestamp: '2026-02-01T00:00:00Z' } };
 * const old = { metadata: { name: 'b', namespace: 'shop', creationTimestamp: '2026-01-01T00:00:00Z' } };
 * oldestFirst([young, old]).map(({ metadata }) => metadata.name); // => ['b', 'a']
 * ```
 */
export function oldestFirst<Object extends Aged>(objects: readonly Object[]): Object[] {
  return objects
    .map((object) => ({ object, created: createdAt(object) }))
    .sort((a, b) => compare(a.created, b.created) || compareNames(a.object, b.object))
    .map(({ object }) => object);
}

/**
 * Objects as they will be once applied: one that is there already is updated, and keeps the time of its creation. An object that says
 * a time of its own is one of a cluster, and keeps that.
 * @param standing what is there before
 * @example
 * ```ts
 * import { loadObject, withCreationTimes } from '@meshpass/istio';
 * const object = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } };
 * const creationTimestamp = '2026-01-01T00:00:00Z';
 * const standing = loadObject({ ...object, metadata: { name: 'shop', creationTimestamp } }, 'cluster').resources;
 * const [applied] = withCreationTimes(loadObject(object, 'file').resources, standing);
 * applied!.metadata.creationTimestamp; // => '2026-01-01T00:00:00Z'
 * ```
 */
export function withCreationTimes<Object extends KubeObject>(
  applied: readonly Object[],
  standing: readonly KubeObject[],
): readonly Object[] {
  const times = new Map<string, string>();
  for (const one of standing) {
    const { creationTimestamp } = one.metadata;
    if (typeof creationTimestamp === 'string') times.set(identityOf(one), creationTimestamp);
  }
  if (times.size === 0) return applied;
  return applied.map((one) => {
    const creationTimestamp = times.get(identityOf(one));
    if (creationTimestamp === undefined || one.metadata.creationTimestamp) return one;
    const aged = { ...one, metadata: { ...one.metadata, creationTimestamp } };
    // Not enumerable, so it was not copied.
    return Object.defineProperty(aged, 'origin', { value: one.origin, enumerable: false });
  });
}

/**
 * A mesh with manifests applied to it: what has the same kind, namespace and name takes the place of what is there, and its age.
 * Of manifests that name the same object, the last one counts, as if they were applied one after the other.
 * @example
 * ```ts
 * import { applyResources, loadManifests } from '@meshpass/istio';
 * const orders = `{apiVersion: v1, kind: Service, metadata: {name: orders, namespace: shop},
 *   spec: {selector: {app: orders}, ports: [{port: 80, name: http, targetPort: web}]}}`;
 * const { resources } = loadManifests(`${orders}`, 'mesh.yaml');
 * applyResources(resources, loadManifests(orders.replace('80', '8080'), 'new.yaml').resources).length; // => 1
 * ```
 */
export function applyResources<Object extends KubeObject>(
  standing: readonly Object[],
  applied: readonly Object[],
): readonly Object[] {
  const objects = new Map(standing.map((one) => [identityOf(one), one]));
  for (const one of withCreationTimes(applied, standing)) objects.set(identityOf(one), one);
  return [...objects.values()];
}

/**
 * Kind, namespace and name: what makes two manifests the same object.
 * @example
 * ```ts
 * import { identityOf } from '@meshpass/istio';
 * identityOf({ kind: 'Service', metadata: { name: 'orders', namespace: 'shop' } }); // => 'Service shop/orders'
 * ```
 */
export function identityOf({ kind, metadata }: Pick<KubeObject, 'kind' | 'metadata'>): string {
  return `${kind} ${metadata.namespace}/${metadata.name}`;
}

/**
 * Objects of the cluster in an order that no list of its API server changes: by namespace and name, by code unit. What is compiled of
 * them is hashed.
 * @example
 * ```ts
 * import { byName } from '@meshpass/istio';
 * const [a, b] = [{ name: 'b', namespace: 'dev' }, { name: 'a', namespace: 'shop' }];
 * [b!, a!].sort(byName).map(({ namespace }) => namespace); // => ['dev', 'shop']
 * ```
 */
export function byName(
  a: { readonly name: string; readonly namespace: string },
  b: { readonly name: string; readonly namespace: string },
): number {
  const [left, right] = [`${a.namespace}/${a.name}`, `${b.namespace}/${b.name}`];
  return left < right ? -1 : left > right ? 1 : 0;
}

/** Milliseconds; of an object that does not say, later than any other. */
function createdAt({ metadata }: Aged): number {
  const { creationTimestamp } = metadata;
  const time = typeof creationTimestamp === 'string' ? Date.parse(creationTimestamp) : Number.NaN;
  return Number.isNaN(time) ? Number.POSITIVE_INFINITY : time;
}

function compareNames(a: Aged, b: Aged): number {
  return compare(a.metadata.name, b.metadata.name) || compare(a.metadata.namespace, b.metadata.namespace);
}

function compare<Value extends string | number>(a: Value, b: Value): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
