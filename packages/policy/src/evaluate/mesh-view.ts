/** Everything that was read, by kind and namespace, with what the mesh's configuration says of it. */
import { type DataPlane, dataPlane } from '../istio/data-plane.ts';
import { findMeshConfig, type MeshConfig } from '../istio/mesh-config.ts';
import { indexObjects, type MeshObjects } from '../istio/objects.ts';
import type { Resource } from '../istio/resources.ts';
import { labelsSelectedBy } from '../istio/workloads.ts';
import { findWorkloads, type Workload } from './workload.ts';

export interface MeshView extends MeshObjects {
  readonly config: MeshConfig;
  readonly workloads: readonly Workload[];
  /** Made when first asked for. */
  readonly dataPlane: () => DataPlane;
}

/** @param config default: what the ConfigMap `istio` among the resources says, or Istio's own defaults */
export function viewMesh(resources: readonly Resource[], config: MeshConfig = findMeshConfig(resources)): MeshView {
  const objects = indexObjects(resources);
  let plane: DataPlane | undefined;
  return {
    ...{ ...objects, config, workloads: findWorkloads(objects, labelsSelectedBy(resources)) },
    dataPlane: () => {
      plane ??= dataPlane(resources, config.rootNamespace);
      return plane;
    },
  };
}
