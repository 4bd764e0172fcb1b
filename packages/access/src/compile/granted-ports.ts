/** Granted ports for proxy configuration: the rules as data, and the port's addresses in the mesh. */
import type { Mesh } from '@meshpass/istio';
import type { Access, Operation } from '../model.ts';
import { resolveAccess } from './resolve.ts';

export interface GrantedPort {
  readonly grant: string;
  /** Full host name. */
  readonly host: string;
  readonly port: number;
  /** The Service's cluster addresses, empty if it is headless. */
  readonly clusterIps: readonly string[];
  /** Allowed operations. If absent, the whole port is allowed. */
  readonly allow?: readonly Operation[] | undefined;
  /** Operations that are denied even if allowed. */
  readonly deny?: readonly Operation[] | undefined;
}

/**
 * Lists the ports of all grants, in the order of the file.
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
