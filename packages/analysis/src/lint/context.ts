/** Input for lint rules: the mesh, and the access file's effect on it. */

import type { Access } from '@meshpass/access/compile';
import { findMeshConfig, type MeshView, type Resource, viewMesh } from '@meshpass/istio';
import type { Exposure } from '../exposure/exposure.ts';
import { meshExposures } from '../exposure/list.ts';
import { type TestWords, testWords } from './exposure/test-words.ts';
import { type GrantedHosts, grantedHosts } from './granted.ts';
import type { LintOptions } from './model.ts';

export interface LintContext {
  readonly mesh: MeshView;
  readonly access: Access | undefined;
  /** Whether the resources cover the whole mesh, so that a missing object does not exist. */
  readonly complete: boolean;
  /** Ways into the cluster, open or not. */
  readonly exposures: readonly Exposure[];
  /** State to compare with, if given. */
  readonly base: LintContext | undefined;
  /** Hosts of granted Services, with ports and grants. */
  readonly granted: GrantedHosts;
  /** Words and labels that show a test route. */
  readonly testWords: TestWords;
}

/**
 * Creates the input for lint rules.
 * @param options mesh settings here override the mesh's own configuration (ConfigMap `istio`) and Istio's defaults
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
    mesh,
    access: options.access,
    complete: options.complete ?? false,
    get exposures() {
      exposures ??= meshExposures(mesh);
      return exposures;
    },
    base: options.base && lintContext(options.base, baseOptions({ ...options, ...settings })),
    granted: grantedHosts(options.access, mesh),
    testWords: testWords(options.settings?.testWords, options.settings?.testLabels),
  };
}

function baseOptions({ base: _, ...options }: LintOptions): LintOptions {
  return options;
}
