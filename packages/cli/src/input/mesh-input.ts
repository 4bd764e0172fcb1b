/** The mesh that a question is about: manifests from files, a live cluster, or files over a cluster. */

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
import { type OptionsOf, text } from '../command/flag.ts';
import { readCluster } from './cluster-manifests.ts';
import { readManifests, refuse } from './policy-input.ts';
import { readTextFile } from './text-file.ts';

/** Where the mesh is read from, beside manifests. */
export const meshInputFlags = {
  kubeconfig: text('<file>', 'also read this live cluster; the manifests win over what it has', {
    env: 'MESHPASS_KUBECONFIG',
  }),
  meshConfig: text('<file>', "istiod's MeshConfig, if its ConfigMap is not among the manifests"),
};
export type MeshInput = OptionsOf<typeof meshInputFlags>;

/**
 * Files win over what the cluster has of the same kind and name: the state once they are applied.
 * @throws MeshpassError `usage`, `manifest_*`, `kubernetes_unavailable`
 */
export async function readMesh(paths: readonly string[], input: MeshInput): Promise<MeshView> {
  const { resources, config, unread } = await readMeshObjects(paths, input);
  return viewMesh(resources, config, unread);
}

/** The objects and the mesh's configuration. @throws MeshpassError as `readMesh` */
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
  const config =
    meshConfig === undefined ? findMeshConfig(resources) : readMeshConfig(readTextFile(meshConfig, '--mesh-config'));
  return { resources, config, unread };
}
