/** Services that a session can reach, for the agent. */
import { formatSpiffe, type ReachableService } from '@meshpass/identity';
import type { Mesh } from '@meshpass/istio';
import type { Access } from '../model.ts';
import { describeAllowed } from './describe-allowed.ts';
import { loopbackAddresses } from './loopback.ts';
import { accountsOf, type ResolvedTarget, resolveAccess } from './resolve.ts';

/**
 * Lists the services of some grants, in the order of the file. Omits services that the mesh does not have (any more).
 * @param grants grant names; unknown ones give nothing
 * @example
 * ```ts
 * import { meshOf, parseAccess, reachableServices } from '@meshpass/access';
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
 * reachableServices(access, mesh, ['dev']).map(({ host, port }) => `${host}:${port}`);
 * // => ['orders.shop.svc.cluster.local:80']
 * ```
 */
export function reachableServices(access: Access, mesh: Mesh, grants: readonly string[]): readonly ReachableService[] {
  const wanted = new Set(grants);
  const resolved = resolveAccess(access, mesh).grants;
  // Computed over all grants, so that a host has the same address in every session.
  const addresses = loopbackAddresses(resolved.flatMap(({ targets }) => targets.map(({ host }) => host)));
  return resolved
    .filter(({ grant }) => wanted.has(grant.name))
    .flatMap(({ grant, targets }) => targets.flatMap((target) => toReachable(grant.name, target, mesh, addresses)));
}

/**
 * Lists the namespaces of all Services that the file grants now.
 * @example
 * ```ts
 * import { meshOf, namespacesGranted, parseAccess } from '@meshpass/access';
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
 * namespacesGranted(access, mesh); // => ['shop']
 * ```
 */
export function namespacesGranted(access: Access, mesh: Mesh): readonly string[] {
  const { grants } = resolveAccess(access, mesh);
  return [...new Set(grants.flatMap(({ targets }) => targets.map(({ service }) => service.namespace)))].sort();
}

function toReachable(
  grant: string,
  { target, service, port, host }: ResolvedTarget,
  mesh: Mesh,
  addresses: ReadonlyMap<string, string>,
): ReachableService[] {
  if (port.protocol === 'undeclared') return [];
  const accounts = accountsOf(service);
  return [
    {
      grant,
      host,
      port: port.port,
      address: addresses.get(host)!,
      aliases: [`${service.name}.${service.namespace}.svc`, `${service.name}.${service.namespace}`],
      protocol: port.protocol,
      ...describeAllowed(target),
      spiffe_ids: accounts.map((serviceAccount) =>
        formatSpiffe({ trustDomain: mesh.trustDomain, namespace: service.namespace, serviceAccount }),
      ),
    },
  ];
}
