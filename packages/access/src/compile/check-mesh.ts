/** Checks the access file against the mesh. */

import type { Mesh } from '@meshpass/istio';
import type { Access } from '../model.ts';
import { type AccessFileProblem, accessFileError } from '../problem.ts';
import { resolveAccess } from './resolve.ts';

/**
 * Checks every target of the file against the mesh.
 * @throws MeshpassError `access_service_unknown`, `access_port_unknown`, `access_port_undeclared`,
 *   `access_file_invalid`, with all findings by FILE:LINE:COLUMN
 * @example
 * ```ts
 * import { checkMesh, meshOf, parseAccess } from '@meshpass/access';
 * import { loadManifests } from '@meshpass/istio';
 * const access = parseAccess(`
 * trust: {codespaces: {organization: acme}}
 * grants:
 *   dev: {who: [{user: alice}], to: [{service: orders.shop, port: 80}]}`, 'access.yaml');
 * const shape = {
 *   trustDomain: 'cluster.local', rootNamespace: 'istio-system', clusterDomain: 'cluster.local',
 *   gateway: { namespace: 'meshpass-system', labels: { istio: 'meshpass-gateway' }, port: 15443 },
 * };
 * const orders = `{apiVersion: v1, kind: Service, metadata: {name: orders, namespace: shop},
 *   spec: {selector: {app: orders}, ports: [{port: 80, name: http}]}}`;
 * const mesh = meshOf(loadManifests(orders, 'cluster.yaml').resources, shape);
 * checkMesh(access, mesh);
 * ```
 */
export function checkMesh(access: Access, mesh: Mesh): void {
  const { problems } = resolveAccess(access, mesh);
  if (problems.length > 0) throw accessFileError(problems);
}

/**
 * Lists targets that entries select by pattern or label but that cannot be granted, with reasons. Compilation leaves
 * them out.
 * @example
 * ```ts
 * import { leftOut, meshOf, parseAccess } from '@meshpass/access';
 * import { loadManifests } from '@meshpass/istio';
 * const access = parseAccess(`
 * trust: {codespaces: {organization: acme}}
 * grants:
 *   dev: {who: [{user: alice}], to: [{service: orders.shop, port: 80}]}`, 'access.yaml');
 * const shape = {
 *   trustDomain: 'cluster.local', rootNamespace: 'istio-system', clusterDomain: 'cluster.local',
 *   gateway: { namespace: 'meshpass-system', labels: { istio: 'meshpass-gateway' }, port: 15443 },
 * };
 * const orders = `{apiVersion: v1, kind: Service, metadata: {name: orders, namespace: shop},
 *   spec: {selector: {app: orders}, ports: [{port: 80, name: http}]}}`;
 * const mesh = meshOf(loadManifests(orders, 'cluster.yaml').resources, shape);
 * leftOut(access, mesh); // => []
 * ```
 */
export function leftOut(access: Access, mesh: Mesh): readonly AccessFileProblem[] {
  return resolveAccess(access, mesh).leftOut;
}
