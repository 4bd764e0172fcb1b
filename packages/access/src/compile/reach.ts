/** Lists what grants currently reach: services for agents, ports for proxies, and namespaces with Kubernetes roles. */
import { formatSpiffe, SERVICE_ADDRESSES, serviceAddress, sha256Hex } from '@meshpass/identity';
import type { ReachableService } from '@meshpass/identity/wire';
import type { Mesh } from '@meshpass/istio';
import type { Access, Operation } from '../model.ts';
import { describeAllowed } from './describe-allowed.ts';
import { type ResolvedTarget, resolveAccess, workloadServiceAccounts } from './resolve.ts';

/**
 * Lists the services that can be reached with the given grants, in file order. Services that do not exist in the mesh
 * are left out.
 * @param grants the names of the grants. Unknown names are ignored
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
  // Addresses are assigned across all grants, so that a host has the same address in every session.
  const addresses = loopbackAddresses(resolved.flatMap(({ targets }) => targets.map(({ host }) => host)));
  return resolved
    .filter(({ grant }) => wanted.has(grant.name))
    .flatMap(({ grant, targets }) => targets.flatMap((target) => toReachable(grant.name, target, mesh, addresses)));
}

/**
 * Lists the namespaces of all Services that the access file currently grants.
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

export interface GrantedPort {
  readonly grant: string;
  /** The full host name. */
  readonly host: string;
  readonly port: number;
  /** The cluster IP addresses of the Service. Headless Services have none. */
  readonly clusterIps: readonly string[];
  /** The operations that are allowed. If absent, the whole port is allowed. */
  readonly allow?: readonly Operation[] | undefined;
  /** Operations that are denied even if `allow` includes them. */
  readonly deny?: readonly Operation[] | undefined;
}

/**
 * Lists the ports of all grants, in file order.
 * @example
 * ```ts
 * import { grantedPorts, meshOf, parseAccess } from '@meshpass/access';
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
 *   spec: {clusterIP: 10.96.0.7, selector: {app: orders}, ports: [{port: 80, name: http}]}}`;
 * const mesh = meshOf(loadManifests(orders, 'cluster.yaml').resources, shape);
 * grantedPorts(access, mesh).map(({ host, clusterIps }) => `${host} ${clusterIps}`);
 * // => ['orders.shop.svc.cluster.local 10.96.0.7']
 * ```
 */
export function grantedPorts(access: Access, mesh: Mesh): readonly GrantedPort[] {
  return resolveAccess(access, mesh).grants.flatMap(({ grant, targets }) =>
    targets.map(({ host, port, service, target }) => ({
      grant: grant.name,
      host,
      port: port.port,
      clusterIps: service.addresses ?? [],
      allow: target.allow,
      deny: target.deny,
    })),
  );
}

/**
 * Lists the namespaces in which each grant currently has a role, in alphabetical order. Grants without any valid role
 * are left out.
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

function toReachable(
  grant: string,
  { target, service, port, host }: ResolvedTarget,
  mesh: Mesh,
  addresses: ReadonlyMap<string, string>,
): ReachableService[] {
  if (port.protocol === 'undeclared') return [];
  const accounts = workloadServiceAccounts(service);
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

// Loopback addresses for hosts in workspaces. They are the same in every workspace and change as rarely as possible.

/**
 * Assigns each host its own address in 127.64.0.0/10. The address only depends on the name of the host, unless an
 * earlier host already has that address. In that case, the host gets the next free one. Adding hosts at the end
 * therefore never changes existing addresses. Inserting a host changes another address only if both names hash to the
 * same one of four million addresses.
 * @param hosts the full host names, at most `SERVICE_ADDRESSES` of them
 * @example
 * ```ts
 * import { loopbackAddresses } from '@meshpass/access/compile';
 * const orders = 'orders.shop.svc.cluster.local';
 * loopbackAddresses([orders]).get(orders); // => '127.102.178.226'
 * ```
 */
export function loopbackAddresses(hosts: Iterable<string>): ReadonlyMap<string, string> {
  const indexes = new Map<string, number>();
  const taken = new Set<number>();
  for (const host of hosts) {
    if (indexes.has(host)) continue;
    let index = preferred(host);
    while (taken.has(index)) index = (index + 1) % SERVICE_ADDRESSES;
    taken.add(index);
    indexes.set(host, index);
  }
  return new Map([...indexes].map(([host, index]) => [host, serviceAddress(index)]));
}

/**
 * Returns the index of a host's preferred address. The hash is shortened to 48 bits, which is far more than an address
 * needs, so all indexes are about equally likely.
 */
function preferred(host: string): number {
  return Number.parseInt(sha256Hex(host).slice(0, 12), 16) % SERVICE_ADDRESSES;
}
