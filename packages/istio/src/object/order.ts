/** Orders objects by age, because istiod prefers the oldest object if there are conflicts. */
import { compare } from './members.ts';
import type { KubeObject } from './object.ts';

type Aged = Pick<KubeObject, 'metadata'>;

/**
 * Sorts objects the way istiod does: by creation time, then by name, then by namespace. An object without a creation
 * time is not in the cluster yet. It gets its time when it is created, so it is younger than all existing objects.
 * Source: `sortConfigByCreationTime` in pilot/pkg/model/config.go; the API server sets `creationTimestamp` (Kubernetes
 * API conventions, "Metadata").
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
 * Adds the creation times that objects will have after they are applied. An existing object keeps its time when it is
 * applied again. An object that already has a time was read from a cluster, and also keeps it.
 * @param standing the objects before the change
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
    // The spread above did not copy this property, because it is not enumerable.
    return Object.defineProperty(aged, 'origin', { value: one.origin, enumerable: false });
  });
}

/**
 * Applies manifests to a mesh. Each object replaces the existing object of the same kind, namespace and name, and keeps
 * its age. If an object is defined more than once, the last definition wins, as if they were applied one after another.
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
 * Returns an identifier made up of the object's kind, namespace and name.
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
 * Compares objects by namespace and name, using code units. Compiled resources are hashed, so their order must not
 * depend on the API server.
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
  return compare(`${a.namespace}/${a.name}`, `${b.namespace}/${b.name}`);
}

/** Returns the creation time in milliseconds, or infinity if the object does not have one. */
function createdAt({ metadata }: Aged): number {
  const { creationTimestamp } = metadata;
  const time = typeof creationTimestamp === 'string' ? Date.parse(creationTimestamp) : Number.NaN;
  return Number.isNaN(time) ? Number.POSITIVE_INFINITY : time;
}

function compareNames(a: Aged, b: Aged): number {
  return compare(a.metadata.name, b.metadata.name) || compare(a.metadata.namespace, b.metadata.namespace);
}
