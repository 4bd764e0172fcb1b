/** The mesh that questions are asked about: manifests from files, a live cluster, or the one laid over the other. */

import { MeshpassError } from '@meshpass/identity/error';
import {
  applyResources,
  findMeshConfig,
  type MeshConfig,
  type MeshView,
  type Resource,
  readMeshConfig,
  viewMesh,
} from '@meshpass/istio';
import { readCluster } from './cluster-manifests.ts';
import { readManifests, readText, refuse } from './policy-input.ts';

export interface MeshInput {
  readonly kubeconfig?: string;
  /** File with a MeshConfig, where the ConfigMap of istiod is not among the manifests. */
  readonly meshConfig?: string;
}

/**
 * Files win over what the cluster has of the same kind and name: what would be, once they are applied.
 * @throws MeshpassError `usage`, `manifest_*`, `kubernetes_unavailable`
 */
export async function readMesh(paths: readonly string[], input: MeshInput): Promise<MeshView> {
  const { resources, config, unread } = await readMeshObjects(paths, input);
  return viewMesh(resources, config, unread);
}

/** The objects alone, with the mesh's configuration. @throws MeshpassError as `readMesh` */
export async function readMeshObjects(
  paths: readonly string[],
  { kubeconfig, meshConfig }: MeshInput,
): Promise<{
  readonly resources: readonly Resource[];
  readonly config: MeshConfig;
  readonly unread: string | undefined;
}> {
  if (paths.length === 0 && kubeconfig === undefined)
    throw new MeshpassError('usage', 'Name files or directories of manifests, - for standard input, or --kubeconfig.');
  const standing: Resource[] = [];
  if (kubeconfig !== undefined) {
    const { resources, problems } = await readCluster(kubeconfig);
    refuse(problems);
    standing.push(...resources);
  }
  const { resources: given, unread } = await readManifests(paths);
  const resources = applyResources(standing, given);
  const config = meshConfig === undefined ? findMeshConfig(resources) : readMeshConfig(readText(meshConfig));
  return { resources, config, unread };
}
