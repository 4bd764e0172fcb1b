/** Lists the ports to compare, and groups those that have the same policies. */

import {
  type MeshSettings,
  type Resource,
  type SpokenProtocol,
  servicePortProtocols,
  type Workload,
} from '@meshpass/istio';
import { type PolicyIndex, type ServedPort, serviceOf } from './policy-index.ts';
import type { PortPolicy } from './port-policy.ts';
import { type Protocol, workloadsOf } from './workloads.ts';

/** A workload port that is compared between the two states. */
export interface Endpoint {
  readonly workload: Workload;
  /** The Pod's port, or undefined to represent all ports that no Service or policy mentions. */
  readonly port: number | undefined;
  readonly protocol: Protocol;
  readonly services: readonly string[];
  /** The Service whose waypoint forwards the calls. Undefined for calls that go directly to the Pod. */
  readonly through?: ServedPort;
  /** The principals of the waypoints in front of the port. Only set for calls that bypass these waypoints. */
  readonly besides?: readonly string[];
}

/** Lists every port of every workload in either state, once for each protocol that clients may use to connect to it. */
export function endpointsOf(
  resources: readonly Resource[],
  indexes: readonly PolicyIndex[],
  { rootNamespace }: MeshSettings,
): readonly Endpoint[] {
  const named = [...new Set(indexes.flatMap(({ portsNamed }) => portsNamed))];
  return workloadsOf(resources, rootNamespace).flatMap((workload) => {
    const ports = Map.groupBy(
      indexes.flatMap((index) => [...index.portsOf(workload).values()]),
      ({ port }) => port,
    );
    const known = [...ports]
      .sort(([a], [b]) => a - b)
      .map(([port, states]) => ({ port, services: [...new Set(states.flatMap(({ reachedAs }) => reachedAs))].sort() }));
    const declared = known.flatMap(({ port, services }) => {
      const spoken = indexes.map((index) => index.portsOf(workload).get(port)?.protocol);
      return protocolsOf(spoken).map((protocol): Endpoint => ({ workload, port, protocol, services }));
    });
    const others = [undefined, ...named.filter((port) => !ports.has(port))].flatMap((port) =>
      (['http', 'tcp'] as const).map((protocol): Endpoint => ({ workload, port, protocol, services: [] })),
    );
    const besides = [...new Set(indexes.flatMap((index) => index.waypointPrincipals(workload)))].sort();
    // If a waypoint is unknown, so are its principals.
    const direct = [...declared, ...others].map((one) => (besides.length === 0 ? one : { ...one, besides }));
    const ways = known.flatMap(({ port, services }) =>
      services.flatMap((service) => throughWaypoint({ workload, port, services: [service] }, indexes)),
    );
    return [...direct, ...ways];
  });
}

/**
 * Returns the protocols that clients may use on a port. If no protocol is declared, the first bytes that the client
 * sends determine it.
 */
function protocolsOf(declared: readonly (SpokenProtocol | undefined)[]): readonly Protocol[] {
  const spoken = new Set(declared.map((one = 'undeclared') => one));
  return (['http', 'tcp'] as const).filter((one) => spoken.has(one) || spoken.has('undeclared'));
}

/**
 * Lists the endpoints for calls that reach a Service port through the Service's waypoint. The waypoint parses the
 * protocol that the Service declares.
 */
function throughWaypoint(endpoint: Omit<Endpoint, 'protocol'>, indexes: readonly PolicyIndex[]): readonly Endpoint[] {
  const [host = '', digits] = endpoint.services[0]!.split(':');
  const [name = '', namespace = ''] = host.split('.');
  const through: ServedPort = { namespace, name, port: Number(digits) };
  if (!indexes.some((index) => index.waypointOf(endpoint.workload, through))) return [];
  const services = indexes.flatMap(({ view }) => serviceOf(view, through) ?? []);
  const declared = services.map((one) => servicePortProtocols(one).get(through.port));
  return protocolsOf(declared).map((protocol) => ({ ...endpoint, protocol, through }));
}

export interface Pair {
  readonly portPolicies: readonly [PortPolicy, PortPolicy];
  readonly where: readonly Endpoint[];
}

/** Groups the endpoints that have the same policies both before and after the change. */
export function pairUp(
  endpoints: readonly Endpoint[],
  [before, after]: readonly [PolicyIndex, PolicyIndex],
): readonly Pair[] {
  const pairs = new Map<string, { portPolicies: readonly [PortPolicy, PortPolicy]; where: Endpoint[] }>();
  for (const endpoint of endpoints) {
    const { workload, port, protocol, through, besides } = endpoint;
    const portPolicies = [
      before.at(workload, port, protocol, through),
      after.at(workload, port, protocol, through),
    ] as const;
    const way = through ? 'through' : (besides ?? []).join();
    const key = [way, ...portPolicies.map((one) => one.key)].join('||');
    const pair = pairs.get(key);
    if (pair) pair.where.push(endpoint);
    else pairs.set(key, { portPolicies, where: [endpoint] });
  }
  return [...pairs.values()];
}

const SHOWN = 5;

/**
 * Formats the ports that a change affects, such as `orders in shop, port 8080 (orders.shop:8080)`. Lists up to five
 * ports, followed by the number of remaining ports.
 * @example
 * ```ts
 * import { compareMeaning, formatWhere } from '@meshpass/analysis/diff';
 * import { DEFAULT_MESH_CONFIG, loadManifests } from '@meshpass/istio';
 * const orders = `{apiVersion: v1, kind: Service, metadata: {name: orders, namespace: shop},
 *   spec: {selector: {app: orders}, ports: [{port: 80, name: http}]}}`;
 * const policy = `{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: orders, namespace: shop},
 *   spec: {rules: [{from: [{source: {namespaces: [web]}}]}]}}`;
 * const before = loadManifests(orders, 'before.yaml').resources;
 * const after = loadManifests(`${orders}\n---\n${policy}`, 'after.yaml').resources;
 * const [change] = compareMeaning(before, after, DEFAULT_MESH_CONFIG).changes;
 * formatWhere(change!.where).startsWith('orders in shop, port 80 (orders.shop:80)'); // => true
 * ```
 */
export function formatWhere(where: readonly Endpoint[]): string {
  const names = where.slice(0, SHOWN).map(({ workload, port, services, protocol, through, besides }) => {
    const way = through ? ' through its waypoint' : besides ? ' straight to the Pod' : '';
    const known = `${services.length > 0 ? ` (${services.join(', ')})` : ''}${way}`;
    return `${workload.name}, ${port === undefined ? `any other port spoken to in ${protocol.toUpperCase()}` : `port ${port}`}${known}`;
  });
  return names.join('; ') + (where.length > SHOWN ? `; and ${where.length - SHOWN} more ports` : '');
}
