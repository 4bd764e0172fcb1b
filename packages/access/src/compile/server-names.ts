/**
 * Server names (SNI) of connections to a Service port, as used in the conditions of AuthorizationPolicies. A client
 * sidecar sends `outbound_.PORT_.SUBSET_.HOST` (Istio: BuildDNSSrvSubsetKey), where the subset is the one that a
 * VirtualService chose, or is empty. Subsets are DNS labels, but which ones exist is unknown here, because it depends
 * on DestinationRules. A policy that listed the subsets would change with every DestinationRule, and every change
 * drains open connections. Conditions therefore match the port at the start of the name and the host at its end. No
 * host name ends with `_.` followed by another host name.
 */

interface Condition {
  readonly key: 'connection.sni';
  readonly values: readonly string[];
}

/**
 * Returns the prefix that the server names of a port have in common, as the value of a condition.
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
 * Returns the suffix that the server names of a host have in common, as the value of a condition.
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
 * Builds the conditions of a rule. Together, they match connections to this port of any of the hosts, in any subset.
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
