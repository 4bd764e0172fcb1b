/** Grants with Kubernetes roles and their namespaces, for sessions and edges. */
import type { Mesh } from '@meshpass/istio';
import type { Access } from '../model.ts';
import { resolveAccess } from './resolve.ts';

/**
 * Lists the namespaces in which each grant has a role now, sorted. Omits a grant whose roles are all refused.
 * @example
 * ```ts
 * import { kubernetesGrants, meshOf, parseAccess } from '@meshpass/access';
 * const access = parseAccess(`
 * trust: {codespaces: {organization: acme}}
 * grants:
 *   dev: {who: [{user: alice}], to: [{service: orders.shop, port: 80}], kubernetes: {roles: [view@shop]}}`, 'access.yaml');
 * const shape = {
 *   trustDomain: 'cluster.local', rootNamespace: 'istio-system', clusterDomain: 'cluster.local',
 *   gateway: { namespace: 'meshpass-system', labels: { istio: 'meshpass-gateway' }, port: 15443 },
 * };
 * kubernetesGrants(access, meshOf([], shape)).get('dev'); // => ['shop']
 * ```
 */
export function kubernetesGrants(access: Access, mesh: Mesh): ReadonlyMap<string, readonly string[]> {
  const { grants } = resolveAccess(access, mesh);
  return new Map(
    grants.flatMap(({ grant, roles }) => {
      const namespaces = [...new Set(roles.map(({ namespace }) => namespace))].sort();
      return namespaces.length > 0 ? [[grant.name, namespaces] as const] : [];
    }),
  );
}
