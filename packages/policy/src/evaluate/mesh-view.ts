/** Everything that was read, by kind and namespace, with what the mesh's configuration says of it. */
import { oldestFirst } from '../istio/age.ts';
import { findMeshConfig, type MeshConfig } from '../istio/mesh-config.ts';
import type { Resource, ResourceKind, ResourceOf } from '../istio/resources.ts';
import { findWorkloads, type Workload } from './workload.ts';

export interface MeshView {
  readonly config: MeshConfig;
  /** Objects of a kind, the oldest first, as istiod sorts them. */
  readonly all: <Kind extends ResourceKind>(kind: Kind) => readonly ResourceOf<Kind>[];
  readonly within: <Kind extends ResourceKind>(kind: Kind, namespace: string) => readonly ResourceOf<Kind>[];
  readonly workloads: readonly Workload[];
}

/** @param config default: what the ConfigMap `istio` among the resources says, or Istio's own defaults */
export function viewMesh(resources: readonly Resource[], config: MeshConfig = findMeshConfig(resources)): MeshView {
  const kinds = new Map<string, Resource[]>();
  const places = new Map<string, Resource[]>();
  for (const resource of oldestFirst(resources)) {
    push(kinds, resource.kind, resource);
    push(places, `${resource.kind}/${resource.metadata.namespace}`, resource);
  }
  const view: Omit<MeshView, 'workloads'> = {
    config,
    all: <Kind extends ResourceKind>(kind: Kind) => (kinds.get(kind) ?? []) as unknown as readonly ResourceOf<Kind>[],
    within: <Kind extends ResourceKind>(kind: Kind, namespace: string) =>
      (places.get(`${kind}/${namespace}`) ?? []) as unknown as readonly ResourceOf<Kind>[],
  };
  return { ...view, workloads: findWorkloads(view) };
}

function push(lists: Map<string, Resource[]>, key: string, resource: Resource): void {
  const list = lists.get(key);
  if (list) list.push(resource);
  else lists.set(key, [resource]);
}
