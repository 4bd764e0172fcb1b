/**
 * Routes that VirtualServices expose through gateways: per route and destination, with hosts and matches. Source:
 * VirtualService and Gateway reference; merging of delegates as in pilot/pkg/model/virtualservice.go.
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
  type Path,
  type Service,
  serverHost,
  type VirtualService,
  type WeightedDestination,
} from '@meshpass/istio';
import { items, labels, text, texts } from '@meshpass/istio/members';

/** Gateway of a VirtualService. The object itself is known only if it is among the files. */
export interface GatewayUse {
  /** `namespace/name`. */
  readonly name: string;
  readonly gateway: Gateway | undefined;
  /** Servers that serve a host of the VirtualService. */
  readonly servers: readonly GatewayServer[];
}

export interface Exposure {
  /** VirtualService with the route: a delegate, or the root itself. */
  readonly on: VirtualService;
  /** VirtualService with the hosts and gateways. */
  readonly root: VirtualService;
  /** Path of the route within `on`. */
  readonly path: Path;
  /** Path of the destination's host within `on`. */
  readonly destinationPath: Path;
  readonly protocol: 'http' | 'tls' | 'tcp';
  readonly gateways: readonly GatewayUse[];
  /** Hosts that a caller can use to reach the route. */
  readonly hosts: readonly string[];
  /** Alternatives; empty if everything matches. */
  readonly matches: readonly HttpMatch[];
  readonly route: HttpRoute | undefined;
  readonly destination: {
    readonly host: string;
    readonly subset: string | undefined;
    readonly port: number | undefined;
  };
  readonly service: Service | undefined;
}

/** Route of a VirtualService, or of its delegate. */
interface RouteAt extends Pick<Exposure, 'on' | 'path' | 'protocol' | 'matches' | 'route'> {
  readonly destinations: readonly WeightedDestination[];
}

/** Maps `NAMESPACE/NAME` to the objects of one kind. */
export function named<T extends KubeObject>(objects: readonly T[]): ReadonlyMap<string, T> {
  return new Map(objects.map((one) => [`${one.metadata.namespace}/${one.metadata.name}`, one]));
}

/** Lists everything reachable through gateways. */
export function exposuresOf(mesh: MeshView): readonly Exposure[] {
  const gateways = named(mesh.all('Gateway'));
  const delegates = named(mesh.all('VirtualService'));
  return mesh.all('VirtualService').flatMap((root) => {
    const hosts = texts(root.spec.hosts);
    const uses = gatewayUses(root, hosts, gateways);
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
            gateways: through,
            destinationPath: [...at.path, 'route', index, 'destination', 'host'],
            destination: { host: full, subset: destination!.subset, port: destination!.port?.number },
            service: mesh.serviceAt(full),
          },
        ];
      });
    });
  });
}

/** Returns the HTTP routes of a VirtualService, with each delegation replaced by the delegate's routes. */
function httpRoutes(root: VirtualService, delegates: ReadonlyMap<string, VirtualService>): readonly RouteAt[] {
  const at = (on: VirtualService, index: number, route: HttpRoute, matches: readonly HttpMatch[]): RouteAt => ({
    on,
    path: ['spec', 'http', index],
    protocol: 'http',
    matches,
    route,
    destinations: items(route.route),
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
): readonly GatewayUse[] {
  const uses: GatewayUse[] = [];
  for (const written of texts(root.spec.gateways)) {
    if (written === 'mesh') continue;
    const name = gatewayName(written, root.metadata.namespace);
    const gateway = gateways.get(name);
    if (gateway && letsOut(gateway)) continue;
    const servers = gateway ? items(gateway.spec.servers).filter((server) => serves(server, gateway, root, hosts)) : [];
    // A Gateway without a server for one of the hosts exposes nothing.
    if (gateway && servers.length === 0) continue;
    uses.push({ name, gateway, servers });
  }
  return uses;
}

/**
 * Resolves `NAME` in the same namespace, `NAMESPACE/NAME`, or the old `NAME.NAMESPACE.svc.cluster.local` to
 * `namespace/name`.
 */
function gatewayName(written: string, namespace: string): string {
  if (written.includes('/')) return written;
  const [name, other, svc] = written.split('.');
  return other && svc === 'svc' ? `${other}/${name}` : `${namespace}/${written}`;
}

/**
 * Whether a gateway is an egress gateway, which carries traffic out of the mesh. Istio's charts label such gateways as
 * egress.
 */
function letsOut(gateway: Gateway): boolean {
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

function bindsTo(match: HttpMatch, use: GatewayUse, root: VirtualService): boolean {
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
