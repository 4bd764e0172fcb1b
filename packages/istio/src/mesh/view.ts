/** Everything that was read, by kind and namespace, with what the mesh's configuration says of it. */

import { indexObjects, type MeshObjects } from '../object/objects.ts';
import type { Resource } from '../object/resources.ts';
import { describeUnplaced } from '../object/unplaced.ts';
import { type DataPlane, dataPlane } from './data-plane.ts';
import { findMeshConfig, type MeshConfig } from './mesh-config.ts';
import { labelsSelectedBy } from './pod.ts';
import { findWorkloads, type Workload } from './workload.ts';

export interface MeshView extends MeshObjects {
  readonly config: MeshConfig;
  readonly workloads: readonly Workload[];
  /** Objects that name no namespace, in words. */
  readonly unplaced: string | undefined;
  readonly unread: string | undefined;
  /** Made when first asked for. */
  readonly dataPlane: () => DataPlane;
}

/**
 * @param config default: what the ConfigMap `istio` among the resources says, or Istio's own defaults
 * @param unread why not everything was read that may hold policies: every answer is unknown then
 */
export function viewMesh(
  resources: readonly Resource[],
  config: MeshConfig = findMeshConfig(resources),
  unread?: string,
): MeshView {
  const objects = indexObjects(resources);
  let plane: DataPlane | undefined;
  return {
    ...{ unread, unplaced: describeUnplaced(resources) },
    ...{ ...objects, config, workloads: findWorkloads(objects, labelsSelectedBy(resources)) },
    dataPlane: () => {
      plane ??= dataPlane(resources, config.rootNamespace, unread);
      return plane;
    },
  };
}
