/** What rules look at: the mesh, and what the access file makes of it. */

import type { Access } from '@meshpass/access/compile';
import { findMeshConfig, type MeshView, type Resource, viewMesh } from '@meshpass/istio';
import { type Exposure, exposuresOf } from './exposure/exposure.ts';
import { type Granted, grantedHosts } from './granted.ts';
import type { LintOptions } from './model.ts';

export interface LintContext {
  readonly mesh: MeshView;
  readonly access: Access | undefined;
  /** Whether the resources are the whole mesh, so that what is missing does not exist. */
  readonly complete: boolean;
  /** What is reachable through gateways. */
  readonly exposures: readonly Exposure[];
  /** The state to compare with, where one is given. */
  readonly base: LintContext | undefined;
  /** Hosts of Services that the access file grants, with the ports and the grants. */
  readonly granted: Granted;
}

/**
 * Puts together what rules look at.
 * @param options what they say of the mesh is taken instead of its own configuration (ConfigMap `istio`), or of Istio's defaults
 */
export function lintContext(resources: readonly Resource[], options: LintOptions): LintContext {
  const found = findMeshConfig(resources);
  const settings = {
    rootNamespace: options.rootNamespace ?? found.rootNamespace,
    clusterDomain: options.clusterDomain ?? found.clusterDomain,
    pathNormalization: options.pathNormalization ?? found.pathNormalization,
  };
  const mesh = viewMesh(resources, { ...found, ...settings });
  let exposures: readonly Exposure[] | undefined;
  return {
    ...{ mesh, access: options.access, complete: options.complete ?? false },
    get exposures() {
      exposures ??= exposuresOf(mesh);
      return exposures;
    },
    base: options.base && lintContext(options.base, baseOptions({ ...options, ...settings })),
    granted: grantedHosts(options.access, mesh),
  };
}

function baseOptions({ base: _, ...options }: LintOptions): LintOptions {
  return options;
}
