/**
 * What VirtualServices make reachable through gateways: per route and destination, under which hosts and by which match.
 * Source: VirtualService and Gateway reference; merging of delegates as in pilot/pkg/model/virtualservice.go.
 */

import {
  fullHost,
  type Gateway,
  type GatewayServer,
  type HttpMatch,
  type HttpRoute,
  hostsMeet,
  type L4Match,
  type MeshView,
  type Path,
  type Service,
  serverHost,
  type VirtualService,
  type WeightedDestination,
} from '@meshpass/istio';
import { items, labels, record, text, texts } from '@meshpass/istio/members';

/** A gateway that a VirtualService names: itself, where it is among the files. */
export interface GatewayUse {
  /** `namespace/name`. */
  readonly name: string;
  readonly gateway: Gateway | undefined;
  /** Servers that serve a host of the VirtualService. */
  readonly servers: readonly GatewayServer[];
}

export interface Exposure {
  /** The VirtualService that holds the route: a delegate, or the root itself. */
  readonly on: VirtualService;
  /** The one with the hosts and gateways. */
  readonly root: VirtualService;
  /** The route within `on`. */
  readonly path: Path;
  /** The destination's host within `on`. */
  readonly destinationPath: Path;
  readonly protocol: 'http' | 'tls' | 'tcp';
  readonly gateways: readonly GatewayUse[];
  /** Under which a caller asks for it. */
  readonly hosts: readonly string[];
  /** Alternatives; empty: everything. */
  readonly matches: readonly HttpMatch[];
  readonly route: HttpRoute | undefined;
  readonly destination: {
    readonly host: string;
    readonly subset: string | undefined;
    readonly port: number | undefined;
  };
  readonly service: Service | undefined;
}

/** Everything that is reachable through gateways. */
export function exposuresOf(mesh: MeshView): readonly Exposure[] {
  const gateways = new Map(mesh.all('Gateway').map((one) => [`${one.metadata.namespace}/${one.metadata.name}`, one]));
  const delegates = new Map(
    mesh.all('VirtualService').map((one) => [`${one.metadata.namespace}/${one.metadata.name}`, one]),
  );
  const found: Exposure[] = [];
  for (const root of mesh.all('VirtualService')) {
    const hosts = texts(root.spec.hosts);
    const uses = gatewayUses(root, hosts, gateways);
    if (uses.length === 0 || hosts.length === 0) continue;
    const add = (
      at: Pick<Exposure, 'on' | 'path' | 'protocol' | 'matches' | 'route'>,
      destinations: readonly WeightedDestination[] | undefined,
    ): void => {
      const through = uses.filter(
        (use) => at.matches.length === 0 || at.matches.some((match) => bindsTo(match, use, root)),
      );
      if (through.length === 0) return;
      for (const [index, one] of items(destinations).entries()) {
        const host = text(record(one.destination).host);
        if (host === undefined) continue;
        const full = fullHost(host, at.on.metadata.namespace, mesh.config.clusterDomain);
        const { subset, port } = one.destination!;
        found.push({
          ...at,
          ...{ root, hosts, gateways: through },
          destinationPath: [...at.path, 'route', index, 'destination', 'host'],
          destination: { host: full, subset, port: port?.number },
          service: mesh.serviceAt(full),
        });
      }
    };
    for (const [index, route] of items(root.spec.http).entries()) {
      const path: Path = ['spec', 'http', index];
      const matches = items(route.match);
      if (!route.delegate) {
        add({ on: root, path, protocol: 'http', matches, route }, route.route);
        continue;
      }
      const { name, namespace } = route.delegate;
      const delegate = delegates.get(`${namespace || root.metadata.namespace}/${name}`);
      for (const [inner, part] of items(delegate?.spec.http).entries()) {
        const merged = mergeMatches(matches, items(part.match));
        if (merged === undefined) continue;
        const at: Path = ['spec', 'http', inner];
        add({ on: delegate!, path: at, protocol: 'http', matches: merged, route: part }, part.route);
      }
    }
    for (const protocol of ['tls', 'tcp'] as const) {
      for (const [index, route] of items<{ match?: readonly L4Match[]; route?: readonly WeightedDestination[] }>(
        root.spec[protocol],
      ).entries()) {
        const matches = items(route.match).map(({ gateways: only }) => (only ? { gateways: only } : {}));
        add({ on: root, path: ['spec', protocol, index], protocol, matches, route: undefined }, route.route);
      }
    }
  }
  return found;
}

/** Gateways of a VirtualService, without `mesh` and without those that only let out. */
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
    // A Gateway that serves none of the hosts exposes nothing.
    if (gateway && servers.length === 0) continue;
    uses.push({ name, gateway, servers });
  }
  return uses;
}

/** `NAME` in its own namespace, `NAMESPACE/NAME`, or the old `NAME.NAMESPACE.svc.cluster.local`, as `namespace/name`. */
export function gatewayName(written: string, namespace: string): string {
  if (written.includes('/')) return written;
  const [name, other, svc] = written.split('.');
  return other && svc === 'svc' ? `${other}/${name}` : `${namespace}/${written}`;
}

/** Egress gateways carry traffic out of the mesh; Istio's charts label them so. */
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

/** What holds for a delegate's route: the root's match and its own. Undefined where they contradict: Istio drops those. */
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
