/**
 * Lists the routes, virtual hosts and listeners that EnvoyFilters add to gateways. Sources: the EnvoyFilter reference,
 * and Envoy's `RouteConfiguration`.
 */

import {
  coversHost,
  type EnvoyFilter,
  type HttpMatch,
  type MeshView,
  type Path,
  serverHost,
  serviceName,
} from '@meshpass/istio';
import { items, labels, record, text, texts } from '@meshpass/istio/members';
import { type EntryPoint, type Exposure, publishedExposure } from '../exposure.ts';
import { uncheckedGateway } from '../internal.ts';
import { isGatewayPod } from './gateway-service.ts';

type ConfigPatch = NonNullable<EnvoyFilter['spec']['configPatches']>[number];

/**
 * Checks whether a filter could apply to gateways. Outside the root namespace, a filter only applies to Pods in its own
 * namespace. If the files contain gateway Pods in other namespaces but none in that one, the filter applies to no
 * gateway.
 */
function reachesGateways(mesh: MeshView, { metadata: { namespace } }: EnvoyFilter): boolean {
  if (namespace === mesh.config.rootNamespace || mesh.podsIn(namespace).length === 0) return true;
  const gateways = mesh.pods.filter(isGatewayPod);
  const isThere = gateways.some((pod) => pod.namespace === namespace);
  return isThere || gateways.length === 0 || mesh.within('KubernetesGateway', namespace).length > 0;
}

/** The parts of Envoy's configuration that define routes to destinations. */
const ROUTES = new Set(['HTTP_ROUTE', 'VIRTUAL_HOST', 'ROUTE_CONFIGURATION']);
const LISTENERS = new Set(['LISTENER', 'FILTER_CHAIN', 'NETWORK_FILTER']);

/** Lists the destinations that EnvoyFilters make reachable through gateways. */
export function listEnvoyFilterExposures(mesh: MeshView): readonly Exposure[] {
  return mesh.all('EnvoyFilter').flatMap((filter) =>
    items(filter.spec.configPatches).flatMap((patch, index) => {
      if (!isAtGateway(mesh, filter, patch) || !adds(patch)) return [];
      return clustersIn(patch.patch?.value).map((cluster) => exposureOf(mesh, filter, patch, index, cluster));
    }),
  );
}

function adds({ applyTo, patch }: ConfigPatch): boolean {
  const operation = text(patch?.operation) ?? '';
  return (
    applyTo !== undefined &&
    (ROUTES.has(applyTo) || LISTENERS.has(applyTo)) &&
    /^(?:ADD|MERGE|REPLACE|INSERT_\w+)$/.test(operation)
  );
}

/**
 * Checks whether a patch applies to gateways. If a patch has no context, it applies to all proxies that its filter
 * selects.
 */
function isAtGateway(mesh: MeshView, filter: EnvoyFilter, { match }: ConfigPatch): boolean {
  const context = match?.context ?? 'ANY';
  if (context === 'GATEWAY') return reachesGateways(mesh, filter);
  if (context !== 'ANY') return false;
  const { spec } = filter;
  const selector = labels(spec.workloadSelector?.labels);
  const targets = items(spec.targetRefs).some(({ kind }) => kind === 'Gateway');
  return targets || (Object.keys(selector).length > 0 && mesh.proxyKind(selector) === 'gateway');
}

/** Matches fields whose clusters receive copies of calls. Callers never see the responses to these copies. */
const MIRRORS = /^request_?mirror_?polic(?:y|ies)$/i;

/**
 * Lists the clusters that an added part routes calls to, by name or by weight. Clusters of authorizers and rate limit
 * services are not included.
 */
function clustersIn(value: unknown): readonly string[] {
  const written = JSON.stringify(value ?? '', (key, member) => (MIRRORS.test(key) ? undefined : member));
  const found = [...written.matchAll(/"cluster":"([^"]+)"|"name":"(outbound\|[^"]+)"/g)];
  return [...new Set(found.map(([, cluster, weighted]) => cluster ?? weighted!))].filter(
    (one) => !/^BlackHole/.test(one),
  );
}

function exposureOf(mesh: MeshView, filter: EnvoyFilter, patch: ConfigPatch, index: number, cluster: string): Exposure {
  // A cluster that does not follow Istio's naming scheme was defined by the mesh's owner, under a name of their choice.
  const [, port = '', subset = '', host = cluster] = cluster.split('|');
  const { applyTo = '' } = patch;
  const path: Path = ['spec', 'configPatches', index];
  const withoutPolicies = LISTENERS.has(applyTo);
  return publishedExposure(filter, path, {
    destinationPath: [...path, 'applyTo'],
    protocol: withoutPolicies ? 'tcp' : 'http',
    entries: [entryOf(mesh, filter, patch)],
    hosts: domainsIn(patch),
    matches: matchesIn(patch.patch?.value),
    destination: { host, subset: subset || undefined, port: Number(port) || undefined },
    service: serviceName(host, mesh.config.clusterDomain) && mesh.serviceAt(host),
  });
}

function entryOf(mesh: MeshView, filter: EnvoyFilter, patch: ConfigPatch): EntryPoint {
  const { namespace, name } = filter.metadata;
  const withoutPolicies = LISTENERS.has(patch.applyTo ?? '');
  const selector = labels(filter.spec.workloadSelector?.labels);
  // Outside the root namespace, a filter only applies to Pods in its own namespace.
  const place = namespace === mesh.config.rootNamespace ? {} : { namespace, confined: true as const };
  const proxy = {
    by: 'istio' as const,
    namespace: undefined,
    ...place,
    selector: Object.keys(selector).length > 0 ? selector : undefined,
    ...(withoutPolicies && { withoutPolicies }),
  };
  return {
    kind: 'EnvoyFilter',
    name: `${namespace}/${name}`,
    object: filter,
    ...listenerOf(mesh, patch),
    proxy,
    ...uncheckedGateway(mesh, proxy, 'an added route requires no client certificate'),
  };
}

/** Finds the ports of an added listener, or of the listeners that a patch to a route refers to. */
function listenerOf(mesh: MeshView, of: ConfigPatch): Pick<EntryPoint, 'ports' | 'serverName'> {
  const { match, patch } = of;
  const added = record(record(record(patch?.value).address).socket_address).port_value;
  const { listener, routeConfiguration } = record(match);
  const { portNumber, gateway, vhost } = record(routeConfiguration);
  const named = /:(\d+)$/.exec(text(record(vhost).name) ?? '')?.[1];
  const number = [added, record(listener).portNumber, portNumber, named].map(Number).find((one) => one > 0);
  if (number !== undefined) return { ports: [{ number, protocol: undefined }] };
  const found = mesh.all('Gateway').find(({ metadata }) => `${metadata.namespace}/${metadata.name}` === gateway);
  const servers = items(found?.spec.servers);
  const ports = servers.map(({ port }) => ({ number: port?.number, protocol: port?.protocol }));
  const served = servers.flatMap(({ hosts }) => texts(hosts).map((one) => serverHost(one, '').host));
  const [domain = '*'] = domainsIn(of);
  if (served.length === 0 || served.some((host) => coversHost(host, domain))) return { ports };
  // Clients must send an SNI that selects this server, because the added host is part of the server's routes.
  return { ports, serverName: served[0]!.replace('*', 'x') };
}

/** Returns the domains of an added virtual host, or `*` if it has none. */
function domainsIn({ match, patch }: ConfigPatch): readonly string[] {
  const value = record(patch?.value);
  const domains = texts(value.domains).map((one) => one.replace(/:\d+$|:\*$/, ''));
  if (domains.length > 0) return [...new Set(domains)];
  const vhost = text(record(record(record(match).routeConfiguration).vhost).name);
  return [vhost === undefined ? '*' : vhost.replace(/:\d+$/, '')];
}

/** Returns the matches of an added route, or of all routes in an added virtual host. */
function matchesIn(value: unknown): readonly HttpMatch[] {
  const { match, routes } = record(value);
  const own = match === undefined ? [] : [record(match)];
  const inner = items(routes as readonly object[]).map((one) => record(record(one).match));
  const matches = [...own, ...inner].map(({ prefix, path, safe_regex: regex }): HttpMatch => {
    if (prefix === '/') return {};
    if (text(path) !== undefined) return { uri: { exact: text(path)! } };
    if (text(prefix) !== undefined) return { uri: { prefix: text(prefix)! } };
    return regex === undefined ? {} : { uri: { regex: String(record(regex).regex ?? '') } };
  });
  return matches.some(({ uri }) => uri === undefined) ? [] : matches;
}
