/** Mesh that a question is about: manifests from files, a live cluster, or both. */

import { MeshpassError } from '@meshpass/identity/error';
import {
  findMeshConfig,
  type MeshConfig,
  type MeshView,
  type Resource,
  readMeshConfig,
  viewMesh,
} from '@meshpass/istio';
import { type OptionsOf, text } from '../command/flag.ts';
import { namespace } from '../command/shared-flags.ts';
import { kubeconfig, readSources } from './policy-input.ts';
import { readTextFile } from './text-file.ts';

/** Flags for sources of the mesh other than manifests. */
export const meshInputFlags = {
  kubeconfig,
  namespace,
  meshConfig: text('<file>', "istiod's MeshConfig, if its ConfigMap is not among the manifests"),
};
export type MeshInput = OptionsOf<typeof meshInputFlags>;

/**
 * Reads the mesh.
 * @throws MeshpassError `usage`, `manifest_*`, `kubernetes_unavailable`
 */
export async function readMesh(paths: readonly string[], input: MeshInput): Promise<MeshView> {
  const { resources, config, unread } = await readMeshObjects(paths, input);
  return viewMesh(resources, config, unread);
}

/**
 * Reads the objects and the mesh's configuration.
 * @throws MeshpassError as readMesh()
 */
export async function readMeshObjects(
  paths: readonly string[],
  { meshConfig, ...sources }: MeshInput,
): Promise<{
  readonly resources: readonly Resource[];
  readonly config: MeshConfig;
  readonly unread: string | undefined;
}> {
  if (paths.length === 0 && sources.kubeconfig === undefined)
    throw new MeshpassError('usage', 'Pass manifest files or directories, - for standard input, or --kubeconfig.');
  const { resources, unread } = await readSources(paths, sources);
  const config =
    meshConfig === undefined ? findMeshConfig(resources) : readMeshConfig(readTextFile(meshConfig, '--mesh-config'));
  return { resources, config, unread };
}
