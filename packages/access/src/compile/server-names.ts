/**
 * Server names (SNI) of connections to a Service port, for conditions of AuthorizationPolicies. A client sidecar sends
 * `outbound_.PORT_.SUBSET_.HOST` (Istio: BuildDNSSrvSubsetKey) with the subset that a VirtualService chose, or an empty
 * one. Subsets are DNS labels. They are unknown here, because they come and go with DestinationRules. A policy that
 * listed them would change with every DestinationRule, and every change drains open connections. Conditions therefore
 * match the port at the start of a name and the host at its end. No host name ends with another one preceded by `_.`.
 */

interface Condition {
  readonly key: 'connection.sni';
  readonly values: readonly string[];
}

/**
 * Returns the prefix of the port's server names, as a condition value.
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
 * Builds the conditions of a rule. Together they match connections to this port of any of the hosts, in any subset.
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
