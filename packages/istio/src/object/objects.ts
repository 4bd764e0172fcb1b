/** Indexes the objects of a mesh by kind and namespace, in istiod's order. */
import { oldestFirst } from './order.ts';
import type { Resource, ResourceKind, ResourceOf } from './resources.ts';

export interface MeshObjects {
  /** Returns all objects of a kind, oldest first. */
  readonly all: <Kind extends ResourceKind>(kind: Kind) => readonly ResourceOf<Kind>[];
  readonly within: <Kind extends ResourceKind>(kind: Kind, namespace: string) => readonly ResourceOf<Kind>[];
}

/**
 * Indexes objects by kind and namespace, in istiod's order.
 * @example
 * ```ts
 * import { indexObjects, loadManifests } from '@meshpass/istio';
 * const orders = `{apiVersion: v1, kind: Service, metadata: {name: orders, namespace: shop},
 *   spec: {selector: {app: orders}, ports: [{port: 80, name: http, targetPort: web}]}}`;
 * const { resources } = loadManifests(`${orders}`, 'mesh.yaml');
 * const objects = indexObjects(resources);
 * objects.within('Service', 'shop').map(({ metadata }) => metadata.name); // => ['orders']
 * ```
 */
export function indexObjects(resources: readonly Resource[]): MeshObjects {
  const kinds = new Map<string, Resource[]>();
  const places = new Map<string, Resource[]>();
  for (const resource of oldestFirst(resources)) {
    push(kinds, resource.kind, resource);
    push(places, `${resource.kind}/${resource.metadata.namespace}`, resource);
  }
  return {
    all: <Kind extends ResourceKind>(kind: Kind) => (kinds.get(kind) ?? []) as unknown as readonly ResourceOf<Kind>[],
    within: <Kind extends ResourceKind>(kind: Kind, namespace: string) =>
      (places.get(`${kind}/${namespace}`) ?? []) as unknown as readonly ResourceOf<Kind>[],
  };
}

/**
 * Returns the objects of a kind, preserving their order.
 * @example
 * ```ts
 * import { loadManifests, ofKind } from '@meshpass/istio';
 * const orders = `{apiVersion: v1, kind: Service, metadata: {name: orders, namespace: shop},
 *   spec: {selector: {app: orders}, ports: [{port: 80, name: http, targetPort: web}]}}`;
 * const policy = `{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: orders, namespace: shop},
 *   spec: {action: DENY, selector: {matchLabels: {app: orders}}, rules: [{}]}}`;
 * const { resources } = loadManifests(`${orders}\n---\n${policy}`, 'mesh.yaml');
 * ofKind(resources, 'Service').length; // => 1
 * ```
 */
export function ofKind<Kind extends ResourceKind>(resources: readonly Resource[], kind: Kind): ResourceOf<Kind>[] {
  return resources.filter((one): one is ResourceOf<Kind> => one.kind === kind);
}

function push(lists: Map<string, Resource[]>, key: string, resource: Resource): void {
  const list = lists.get(key);
  if (list) list.push(resource);
  else lists.set(key, [resource]);
}
