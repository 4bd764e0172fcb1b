/**
 * The server names (SNI) of connections to a port of a Service, in rules of AuthorizationPolicies. A sidecar that calls writes
 * `outbound_.PORT_.SUBSET_.HOST` (Istio: BuildDNSSrvSubsetKey), with the subset that a VirtualService chose or none. Subsets are DNS
 * labels and not known here: they come and go with DestinationRules, and a policy that named them would change with each, which
 * drains open connections. So a name is of a port by how it begins, and of a host by how it ends; no host ends as another one does
 * with `_.` before it.
 */

interface Condition {
  readonly key: 'connection.sni';
  readonly values: readonly string[];
}

/**
 * How server names of the port begin, as a value of a condition.
 * @example
 * ```ts
 * import { namesOfPort } from '@meshpass/access/compile';
 * namesOfPort(8080); // => 'outbound_.8080_.*'
 * ```
 */
export function namesOfPort(port: number): string {
  return `outbound_.${port}_.*`;
}

/**
 * How server names of the host end, as a value of a condition.
 * @example
 * ```ts
 * import { namesOfHost } from '@meshpass/access/compile';
 * namesOfHost('orders.shop.svc.cluster.local'); // => '*_.orders.shop.svc.cluster.local'
 * ```
 */
export function namesOfHost(host: string): string {
  return `*_.${host}`;
}

/**
 * Conditions of a rule, which all must hold: the connection is to this port of one of the hosts, in whatever subset.
 * @example
 * ```ts
 * import { connectionsTo } from '@meshpass/access/compile';
 * connectionsTo(80, ['web.dev.svc.cluster.local']).map(({ values }) => values);
 * // => [['outbound_.80_.*'], ['*_.web.dev.svc.cluster.local']]
 * ```
 */
export function connectionsTo(port: number, hosts: readonly string[]): readonly [Condition, Condition] {
  return [
    { key: 'connection.sni', values: [namesOfPort(port)] },
    { key: 'connection.sni', values: hosts.map(namesOfHost) },
  ];
}
