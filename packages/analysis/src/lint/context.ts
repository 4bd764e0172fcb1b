/** Provides the input for lint rules: the mesh, and the access file's effect on it. */

import type { Access } from '@meshpass/access/compile';
import { findMeshConfig, type MeshView, type Resource, viewMesh } from '@meshpass/istio';
import type { Exposure } from '../exposure/exposure.ts';
import { meshExposures } from '../exposure/list.ts';
import type { GrantReach } from '../routes/outside-grant.ts';
import { type TestWords, testWords } from './exposure/test-words.ts';
import { grantReaches, grantsByHost } from './granted.ts';
import type { LintOptions } from './model.ts';

export interface LintContext {
  readonly mesh: MeshView;
  readonly access: Access | undefined;
  /** Whether the resources cover the whole mesh. If so, objects that are not among them do not exist. */
  readonly complete: boolean;
  /** The entry points of the cluster, whether or not they are open. */
  readonly exposures: readonly Exposure[];
  /** The state before the change, for comparison. Undefined if there is none. */
  readonly base: LintContext | undefined;
  /** The ports that each grant covers. */
  readonly grantReaches: readonly GrantReach[];
  /** The names of the grants that cover each host. */
  readonly granted: ReadonlyMap<string, readonly string[]>;
  /** The words and labels that indicate a test route. */
  readonly testWords: TestWords;
}

/**
 * Creates the input for the lint rules.
 * @param options the options, whose mesh settings override the `istio` ConfigMap and Istio's defaults
 */
export function lintContext(resources: readonly Resource[], { base, ...options }: LintOptions): LintContext {
  const found = findMeshConfig(resources);
  const settings = {
    rootNamespace: options.rootNamespace ?? found.rootNamespace,
    clusterDomain: options.clusterDomain ?? found.clusterDomain,
    pathNormalization: options.pathNormalization ?? found.pathNormalization,
  };
  const mesh = viewMesh(resources, { ...found, ...settings });
  const reaches = grantReaches(options.access, mesh);
  let exposures: readonly Exposure[] | undefined;
  return {
    mesh,
    access: options.access,
    complete: options.complete ?? false,
    get exposures() {
      exposures ??= meshExposures(mesh);
      return exposures;
    },
    base: base && lintContext(base, { ...options, ...settings }),
    grantReaches: reaches,
    granted: grantsByHost(reaches),
    testWords: testWords(options.settings?.testWords, options.settings?.testLabels),
  };
}
