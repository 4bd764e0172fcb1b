/** What the grants hold at each port, for whoever configures proxies: rules as data, and where the mesh has the port. */
import type { Mesh } from '@meshpass/istio';
import type { Access, Operation } from '../model.ts';
import { resolveAccess } from './resolve.ts';

export interface GrantedPort {
  readonly grant: string;
  /** Full name. */
  readonly host: string;
  readonly port: number;
  /** Addresses of the Service in the cluster; none where it is headless. */
  readonly clusterIps: readonly string[];
  /** Absent: the whole port. */
  readonly allow?: readonly Operation[] | undefined;
  /** Refused all the same. */
  readonly deny?: readonly Operation[] | undefined;
}

/**
 * The ports of all grants, in the order of the file.
 * @example
 * ```ts
 * import { grantedPorts, meshOf, parseAccess } from '@meshpass/access';
 * import { loadManifests } from '@meshpass/istio';
 * const access = parseAccess(`
 * trust: {codespaces: {organization: acme}}
 * grants:
 *   dev: {who: [{user: alice}], to: [{service: orders.shop, port: 80}]}`, 'access.yaml');
 * const shape = {
 *   ...{ trustDomain: 'cluster.local', rootNamespace: 'istio-system', clusterDomain: 'cluster.local' },
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
      ...{ grant: grant.name, host, port: port.port, clusterIps: service.addresses ?? [] },
      ...{ allow: target.allow, deny: target.deny },
    })),
  );
}
