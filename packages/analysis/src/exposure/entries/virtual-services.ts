/**
 * Routes that VirtualServices expose through Istio's Gateways: per route and destination, with hosts and matches.
 * Source: VirtualService and Gateway reference; merging of delegates as in pilot/pkg/model/virtualservice.go.
 */

import {
  fullHost,
  type Gateway,
  type GatewayServer,
  type HttpMatch,
  type HttpRoute,
  hostsMeet,
  type KubeObject,
  type L4Match,
  type MeshView,
  serverHost,
  type VirtualService,
  type WeightedDestination,
} from '@meshpass/istio';
import { items, labels, text, texts } from '@meshpass/istio/members';
import type { EntryPoint, Exposure, Identity } from '../exposure.ts';
import { whyInternalPods, whyUnpublished } from '../internal.ts';
import { forwardsNothing } from './refused-route.ts';

/** Route of a VirtualService, or of its delegate. */
export interface RouteAt extends Pick<Exposure, 'path' | 'protocol' | 'matches'> {
  readonly on: VirtualService;
  readonly route: HttpRoute | undefined;
  readonly destinations: readonly WeightedDestination[];
}

/** Maps `NAMESPACE/NAME` to the objects of one kind. */
export function named<T extends KubeObject>(objects: readonly T[]): ReadonlyMap<string, T> {
  return new Map(objects.map((one) => [`${one.metadata.namespace}/${one.metadata.name}`, one]));
}

/** Lists everything that VirtualServices expose through gateways. */
export function exposuresOfVirtualServices(mesh: MeshView): readonly Exposure[] {
  const gateways = named(mesh.all('Gateway'));
  const delegates = named(mesh.all('VirtualService'));
  return mesh.all('VirtualService').flatMap((root) => {
    const hosts = texts(root.spec.hosts);
    const uses = gatewayUses(root, hosts, gateways, mesh);
    if (uses.length === 0 || hosts.length === 0) return [];
    return [...httpRoutes(root, delegates), ...l4Routes(root)].flatMap(({ destinations, ...at }) => {
      const through = uses.filter(
        (use) => at.matches.length === 0 || at.matches.some((match) => bindsTo(match, use, root)),
      );
      if (through.length === 0) return [];
      return destinations.flatMap(({ destination }, index): readonly Exposure[] => {
        const host = text(destination?.host);
        if (host === undefined) return [];
        const full = fullHost(host, at.on.metadata.namespace, mesh.config.clusterDomain);
        return [
          {
            ...at,
            root,
            hosts,
            entries: through,
            sent: rewritten(at.matches, at.route),
            destinationPath: [...at.path, 'route', index, 'destination', 'host'],
            destination: { host: full, subset: destination!.subset, port: destination!.port?.number },
            service: mesh.serviceAt(full),
          },
        ];
      });
    });
  });
}

/**
 * Returns the HTTP routes of a VirtualService in order, with each delegation replaced by the delegate's routes. A route
 * that the gateway answers itself has no destinations.
 */
export function httpRoutes(root: VirtualService, delegates: ReadonlyMap<string, VirtualService>): readonly RouteAt[] {
  const at = (on: VirtualService, index: number, route: HttpRoute, matches: readonly HttpMatch[]): RouteAt => ({
    on,
    path: ['spec', 'http', index],
    protocol: 'http',
    matches,
    route,
    destinations: forwardsNothing(route) ? [] : items(route.route),
  });
  return items(root.spec.http).flatMap((route, index) => {
    const matches = items(route.match);
    if (!route.delegate) return [at(root, index, route, matches)];
    const { name, namespace } = route.delegate;
    const delegate = delegates.get(`${namespace || root.metadata.namespace}/${name}`);
    return items(delegate?.spec.http).flatMap((part, inner) => {
      const merged = mergeMatches(matches, items(part.match));
      return merged ? [at(delegate!, inner, part, merged)] : [];
    });
  });
}

function l4Routes(root: VirtualService): readonly RouteAt[] {
  return (['tls', 'tcp'] as const).flatMap((protocol) =>
    (root.spec[protocol] ?? []).map(({ match = [], route = [] }, index) => ({
      on: root,
      path: ['spec', protocol, index],
      protocol,
      matches: match.map(({ gateways: only }: L4Match) => (only ? { gateways: only } : {})),
      route: undefined,
      destinations: route,
    })),
  );
}

/** Lists the gateways of a VirtualService, except `mesh` and egress gateways. */
export function gatewayUses(
  root: VirtualService,
  hosts: readonly string[],
  gateways: ReadonlyMap<string, Gateway>,
  mesh: MeshView,
): readonly EntryPoint[] {
  const uses: EntryPoint[] = [];
  for (const written of texts(root.spec.gateways)) {
    if (written === 'mesh') continue;
    const name = gatewayName(written, root.metadata.namespace);
    const gateway = gateways.get(name);
    if (gateway && letsOut(gateway)) continue;
    const servers = gateway ? items(gateway.spec.servers).filter((server) => serves(server, gateway, root, hosts)) : [];
    // A Gateway without a server for one of the hosts exposes nothing.
    if (gateway && servers.length === 0) continue;
    uses.push(toEntry(name, gateway, servers, mesh));
  }
  return uses;
}

/** Describes the entry point that servers of a Gateway form. Without the Gateway, it is not among the files. */
export function toEntry(
  name: string,
  gateway: Gateway | undefined,
  servers: readonly GatewayServer[],
  mesh: MeshView,
): EntryPoint {
  const selector = gateway && labels(gateway.spec.selector);
  const namespace = gateway?.metadata.namespace ?? name.slice(0, name.indexOf('/'));
  return {
    kind: 'Gateway',
    name,
    object: gateway,
    ports: servers.map(({ port }) => ({ number: port?.number, protocol: port?.protocol })),
    proxy: { by: 'istio', namespace, selector },
    own: requiredByTls(servers, whyUnpublished(mesh, { namespace, selector })),
    internal: whyInternalPods(mesh, { namespace, selector }),
  };
}

/** Whether every server requires a client certificate that its own roots verify (`MUTUAL`). */
function requiredByTls(servers: readonly GatewayServer[], unpublished: string | undefined): Identity {
  const required =
    servers.length > 0 && servers.every(({ tls }) => tls?.mode === 'MUTUAL' || tls?.mode === 'ISTIO_MUTUAL');
  if (required) return { state: 'required', reason: 'the gateway requires a client certificate' };
  return unpublished !== undefined
    ? { state: 'unknown', reason: unpublished }
    : { state: 'none', reason: 'the gateway requires no client certificate' };
}

/**
 * Resolves `NAME` in the same namespace, `NAMESPACE/NAME`, or the old `NAME.NAMESPACE.svc.cluster.local` to
 * `namespace/name`.
 */
export function gatewayName(written: string, namespace: string): string {
  if (written.includes('/')) return written;
  const [name, other, svc] = written.split('.');
  return other && svc === 'svc' ? `${other}/${name}` : `${namespace}/${written}`;
}

/**
 * Whether a gateway is an egress gateway, which carries traffic out of the mesh. Istio's charts label such gateways as
 * egress.
 */
export function letsOut(gateway: Gateway): boolean {
  return Object.values(labels(gateway.spec.selector)).some((value) => value.includes('egress'));
}

function serves(server: GatewayServer, gateway: Gateway, root: VirtualService, hosts: readonly string[]): boolean {
  return texts(server.hosts).some((written) => {
    const { namespace, host } = serverHost(written, gateway.metadata.namespace);
    return (
      (namespace === undefined || namespace === root.metadata.namespace) && hosts.some((one) => hostsMeet(one, host))
    );
  });
}

function bindsTo(match: HttpMatch, use: EntryPoint, root: VirtualService): boolean {
  const only = texts(match.gateways);
  return only.length === 0 || only.some((one) => gatewayName(one, root.metadata.namespace) === use.name);
}

/**
 * Merges the match of a delegate's route with the root's. Returns undefined if they contradict each other, because
 * Istio drops such routes.
 */
function mergeMatches(root: readonly HttpMatch[], own: readonly HttpMatch[]): readonly HttpMatch[] | undefined {
  if (root.length === 0) return own;
  if (own.length === 0) return root;
  const merged: HttpMatch[] = [];
  for (const outer of root) {
    for (const inner of own) {
      if (contradict(outer.uri, inner.uri)) continue;
      merged.push({
        ...outer,
        ...inner,
        headers: { ...outer.headers, ...inner.headers },
        queryParams: { ...outer.queryParams, ...inner.queryParams },
      });
    }
  }
  return merged.length > 0 ? merged : undefined;
}

function contradict(outer: HttpMatch['uri'], inner: HttpMatch['uri']): boolean {
  if (!outer || !inner) return false;
  if (outer.prefix !== undefined) {
    const narrower = inner.prefix ?? inner.exact;
    return narrower === undefined || !narrower.startsWith(outer.prefix);
  }
  return outer.exact !== undefined ? inner.exact !== outer.exact : true;
}

/** Adapts matches to the request that the workload receives after the route's rewrite. */
function rewritten(matches: readonly HttpMatch[], route: HttpRoute | undefined): readonly HttpMatch[] {
  const { uri: written, uriRegexRewrite } = route?.rewrite ?? {};
  if (uriRegexRewrite !== undefined) return matches.map((match) => ({ ...match, uri: {} }));
  if (written === undefined) return matches;
  return matches.map((match) => {
    if (match.uri?.exact !== undefined) return { ...match, uri: { exact: written } };
    return { ...match, uri: match.uri?.prefix !== undefined ? { prefix: written } : {} };
  });
}
