/** Describes an exposure in words: the calls it allows, its entry point, and who can call it. */

import type { HttpMatch, KubeObject, ParentRef, StringMatch } from '@meshpass/istio';
import { items, listed, record } from '@meshpass/istio/members';
import type { EntryKind, EntryPoint, Exposure } from './exposure.ts';

/**
 * Describes an entry point, for example `Gateway istio-ingress/public (port 443 HTTPS)` or `the load balancer of
 * Service shop/orders (port 80)`.
 */
export function describeEntry({ kind, name, object, ports, proxy }: EntryPoint): string {
  const shown = PUBLISHED[kind];
  const of = shown === undefined ? manifestKind(kind) : `${shown} of ${object?.kind ?? 'Service'}`;
  if (!object) return `${of} ${name} (not among these files)`;
  if (kind === 'Ingress') return `Ingress ${name} (${proxy.by === 'controller' ? proxy.name : "Istio's class"})`;
  // If the files do not specify a node port, the API server picks one, so there is no number to show.
  const stated = ports.filter(({ number, protocol }) => number !== undefined || protocol !== undefined);
  const each = stated.map(({ number, protocol }) => `${number ?? '?'} ${protocol ?? ''}`.trim());
  return each.length === 0 ? `${of} ${name}` : `${of} ${name} (port ${listed([...new Set(each)])})`;
}

/** Describes the settings that publish an object outside the cluster. */
const PUBLISHED: Readonly<Partial<Record<EntryKind, string>>> = {
  LoadBalancer: 'the load balancer',
  NodePort: 'a port of every node, by NodePort',
  externalIPs: 'an external address',
  hostPort: 'a port of its node, by hostPort',
  hostNetwork: 'the network of its node, by hostNetwork',
  Sidecar: 'a listener',
};

/** Returns the kind as written in manifests, which is `Gateway` for both Istio's and the Gateway API's gateways. */
export function manifestKind(kind: string): string {
  return kind === 'KubernetesGateway' ? 'Gateway' : kind;
}

/** Describes the calls that an exposure allows, for example `any method of shop.example.com/test*`. */
export function describeCalls({ hosts, matches, protocol, entries, root }: Exposure): string {
  const isDirect = entries.every(({ proxy }) => proxy.by === 'none');
  if (isDirect || (protocol !== 'http' && hosts.includes('*'))) {
    return protocol === 'http' ? 'every call' : 'every connection';
  }
  const host = hosts.includes('*') ? `every host of ${sectionsOf(root) ?? addressOf(entries)}` : listed(hosts);
  if (protocol !== 'http') return `every connection to ${host}`;
  if (matches.length === 0) return `every call to ${host}`;
  return `${listed([...new Set(matches.filter(isOwn).map(describeMatch))], 2)} of ${host}`;
}

/**
 * Checks whether a match should be described separately. The exact half of a segment prefix (`/a` next to `/a/`) should
 * not.
 */
function isOwn({ uri, method }: HttpMatch, _: number, all: readonly HttpMatch[]): boolean {
  const inner = `${uri?.exact}/`;
  return !all.some((one) => one.uri?.prefix === inner && one.method?.exact === method?.exact);
}

/** Formats a destination, for example `orders.shop.svc.cluster.local:8080, subset test`. */
export function describeDestination({ destination }: Pick<Exposure, 'destination'>): string {
  const port = destination.port === undefined ? '' : `:${destination.port}`;
  return `${destination.host}${port}${destination.subset === undefined ? '' : `, subset ${destination.subset}`}`;
}

/** Describes who can make the calls and what they have to send. None of that requires an identity. */
export function describeCallers({ matches, entries }: Exposure): string {
  const guards = matches.map(describeCallerInput);
  const anyone = `anyone who can reach that ${addressOf(entries).replace(/^the /, '')}`;
  if (matches.length === 0 || guards.some((one) => one === '')) return anyone;
  return `${anyone} and sends ${guards[0]}, which requires no identity`;
}

/** Describes the headers and query parameters that a match requires. Any caller can send them. */
export function describeCallerInput(match: HttpMatch): string {
  const inputs = (what: string, matches: Readonly<Record<string, StringMatch>> = {}) =>
    Object.entries(matches).map(([name, value]) => `the ${what} ${name}${describeString(value)}`);
  return [...inputs('header', match.headers), ...inputs('query parameter', match.queryParams)].join(' and ');
}

/**
 * Describes the listeners that a Gateway API route attaches to. Returns undefined if it attaches to entire Gateways.
 */
function sectionsOf({ kind, spec }: KubeObject & { readonly spec?: object }): string | undefined {
  if (!kind.endsWith('Route')) return undefined;
  const parents = items(record(spec).parentRefs as readonly ParentRef[]).filter((one) => one.kind !== 'Service');
  const names = parents.map(({ sectionName }) => sectionName).filter((one) => one !== undefined);
  if (names.length === 0 || names.length < parents.length) return undefined;
  return `listener ${listed([...new Set(names)])}`;
}

function addressOf(entries: readonly EntryPoint[]): string {
  if (entries.every(({ kind }) => kind === 'Ingress')) return 'the Ingress';
  return entries.every(({ proxy }) => proxy.by === 'none') ? 'the port' : 'the gateway';
}

/** Formats an object's kind, namespace and name. Gateways of both Istio and the Gateway API have the kind `Gateway`. */
export function describeObject({ kind, metadata }: KubeObject): string {
  const shown = manifestKind(kind);
  return metadata.namespace === '' ? `${shown} ${metadata.name}` : `${shown} ${metadata.namespace}/${metadata.name}`;
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
