/**
 * Server names (SNI) of connections to a Service port, in AuthorizationPolicy conditions. A calling sidecar writes
 * `outbound_.PORT_.SUBSET_.HOST` (Istio: BuildDNSSrvSubsetKey), with the subset that a VirtualService chose, or none.
 * Subsets are DNS labels and unknown here, because they come and go with DestinationRules. A policy that listed them
 * would change with each, which drains open connections. So the start of a name identifies the port and its end the
 * host. No host name ends with another one preceded by `_.`.
 */

interface Condition {
  readonly key: 'connection.sni';
  readonly values: readonly string[];
}

/**
 * Returns the beginning of the port's server names, as a value of a condition.
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
 * Returns the suffix of the host's server names, as a condition value.
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
 * Builds the conditions of a rule, all of which must hold: the connection is to this port of one of the hosts, in any
 * subset.
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
