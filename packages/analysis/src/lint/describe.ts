/** How an exposure is said: what becomes reachable, through which gateway, by whom. */

import type { HttpMatch, KubeObject, StringMatch } from '@meshpass/istio';
import { items, listed, record } from '@meshpass/istio/members';
import type { Exposure, GatewayUse } from './exposure/exposure.ts';

/** `Gateway istio-ingress/public (port 443 HTTPS)`. */
export function describeGateway({ name, gateway, servers }: GatewayUse): string {
  if (!gateway) return `Gateway ${name} (not among these files)`;
  const ports = items(servers).map(({ port }) => `${port?.number ?? '?'} ${port?.protocol ?? ''}`.trim());
  return `Gateway ${name} (port ${listed([...new Set(ports)])})`;
}

/** `any method of shop.example.com/test*`. */
export function describeCalls({ hosts, matches, protocol }: Exposure): string {
  const host = hosts.includes('*') ? 'every host of the gateway' : listed(hosts);
  if (protocol !== 'http') return `every connection to ${host}`;
  if (matches.length === 0) return `every call of ${host}`;
  return `${listed([...new Set(matches.map(describeMatch))], 2)} of ${host}`;
}

/** `orders.shop.svc.cluster.local:8080, subset test`. */
export function describeDestination({ destination }: Exposure): string {
  const port = destination.port === undefined ? '' : `:${destination.port}`;
  return `${destination.host}${port}${destination.subset === undefined ? '' : `, subset ${destination.subset}`}`;
}

/** By whom: what a caller must send, where that is something that anybody can. */
export function describeCallers({ matches }: Exposure): string {
  const guards = matches.map(describeCallerInput);
  if (matches.length === 0 || guards.some((one) => one === '')) return 'anyone who can reach that gateway';
  return `anyone who can reach that gateway and sends ${guards[0]}, which requires no identity`;
}

/** What of a match a caller simply writes: headers, cookies, query. */
export function describeCallerInput(match: HttpMatch): string {
  const said = [
    ...Object.entries(record<StringMatch>(match.headers)).map(
      ([name, value]) => `the header ${name}${describeString(value)}`,
    ),
    ...Object.entries(record<StringMatch>(match.queryParams)).map(
      ([name, value]) => `the query parameter ${name}${describeString(value)}`,
    ),
  ];
  return said.join(' and ');
}

export function describeObject({ kind, metadata }: KubeObject): string {
  const shown = kind === 'KubernetesGateway' ? 'Gateway' : kind;
  return metadata.namespace === '' ? `${shown} ${metadata.name}` : `${shown} ${metadata.namespace}/${metadata.name}`;
}

function describeMatch({ method, uri }: HttpMatch): string {
  const verb = method?.exact ?? 'any method';
  if (uri?.exact !== undefined) return `${verb} ${uri.exact}`;
  if (uri?.prefix !== undefined) return `${verb} ${uri.prefix}*`;
  return uri?.regex !== undefined ? `${verb} ~${uri.regex}` : `${verb}, any path`;
}

function describeString(value: StringMatch): string {
  const { exact, prefix, regex } = record(value) as StringMatch;
  if (exact !== undefined) return `: ${exact}`;
  if (prefix !== undefined) return `: ${prefix}...`;
  return regex === undefined ? '' : ` like ${regex}`;
}
