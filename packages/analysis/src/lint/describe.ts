/** Descriptions of an exposure: the reachable calls, the gateway, and the possible callers. */

import type { HttpMatch, KubeObject, StringMatch } from '@meshpass/istio';
import { items, listed } from '@meshpass/istio/members';
import type { Exposure, GatewayUse } from './exposure/exposure.ts';
import type { SuppressedFinding } from './model.ts';

/** Formats `Gateway istio-ingress/public (port 443 HTTPS)`. */
export function describeGateway({ name, gateway, servers }: GatewayUse): string {
  if (!gateway) return `Gateway ${name} (not among these files)`;
  const ports = items(servers).map(({ port }) => `${port?.number ?? '?'} ${port?.protocol ?? ''}`.trim());
  return `Gateway ${name} (port ${listed([...new Set(ports)])})`;
}

/** Formats `any method of shop.example.com/test*`. */
export function describeCalls({ hosts, matches, protocol }: Exposure): string {
  const host = hosts.includes('*') ? 'every host of the gateway' : listed(hosts);
  if (protocol !== 'http') return `every connection to ${host}`;
  if (matches.length === 0) return `every call to ${host}`;
  return `${listed([...new Set(matches.map(describeMatch))], 2)} of ${host}`;
}

/** Formats `orders.shop.svc.cluster.local:8080, subset test`. */
export function describeDestination({ destination }: Exposure): string {
  const port = destination.port === undefined ? '' : `:${destination.port}`;
  return `${destination.host}${port}${destination.subset === undefined ? '' : `, subset ${destination.subset}`}`;
}

/** Describes the possible callers and the inputs that they must send, none of which requires an identity. */
export function describeCallers({ matches }: Exposure): string {
  const guards = matches.map(describeCallerInput);
  if (matches.length === 0 || guards.some((one) => one === '')) return 'anyone who can reach that gateway';
  return `anyone who can reach that gateway and sends ${guards[0]}, which requires no identity`;
}

/** Describes the inputs of a match that any caller can send: headers and query parameters. */
export function describeCallerInput(match: HttpMatch): string {
  const inputs = (what: string, matches: Readonly<Record<string, StringMatch>> = {}) =>
    Object.entries(matches).map(([name, value]) => `the ${what} ${name}${describeString(value)}`);
  return [...inputs('header', match.headers), ...inputs('query parameter', match.queryParams)].join(' and ');
}

/** Returns an object's kind, namespace and name. Uses `Gateway` for both kinds of that name. */
export function describeObject({ kind, metadata }: KubeObject): string {
  const shown = kind === 'KubernetesGateway' ? 'Gateway' : kind;
  return metadata.namespace === '' ? `${shown} ${metadata.name}` : `${shown} ${metadata.namespace}/${metadata.name}`;
}

/** Formats the reason why a finding was accepted, with its end or owner: `the public demo (team shop)`. */
export function describeAcceptance({ suppressedBy: { reason, until, owner } }: SuppressedFinding): string {
  const more = until === undefined ? owner : `until ${until}`;
  return more === undefined ? reason : `${reason} (${more})`;
}

function describeMatch({ method, uri }: HttpMatch): string {
  const verb = method?.exact ?? 'any method';
  if (uri?.exact !== undefined) return `${verb} ${uri.exact}`;
  if (uri?.prefix !== undefined) return `${verb} ${uri.prefix}*`;
  return uri?.regex !== undefined ? `${verb} ~${uri.regex}` : `${verb}, any path`;
}

function describeString({ exact, prefix, regex }: StringMatch): string {
  if (exact !== undefined) return `: ${exact}`;
  if (prefix !== undefined) return `: ${prefix}...`;
  return regex === undefined ? '' : ` like ${regex}`;
}
