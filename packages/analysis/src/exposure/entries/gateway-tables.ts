/**
 * Builds the routing tables of Istio Gateways, which list the VirtualService routes for each host of a listener.
 * VirtualServices for the same host are merged in order of age, with catch-all routes at the end. Sources: the
 * VirtualService and Gateway references; in Istio, `buildGatewayHTTPRouteConfig` in
 * pilot/pkg/networking/core/gateway.go, and `BuildHTTPRoutesForVirtualService` and `SortVHostRoutes` in route/route.go.
 */
import { memoize } from '@meshpass/identity';
import {
  coversHost,
  exportToOf,
  type Gateway,
  type GatewayServer,
  hostsMeet,
  type KubeObject,
  type Labels,
  type MeshConfig,
  type MeshView,
  oldestFirst,
  type PodWorkload,
  selects,
  serverHost,
  type VirtualService,
  type Workload,
} from '@meshpass/istio';
import { distinct, items, labels, texts } from '@meshpass/istio/members';
import {
  isCatchAll,
  isRestrictedToSources,
  type VirtualServiceRoute,
  virtualServiceRoutes,
} from '../../routes/http-routes.ts';
import type { Listener } from '../../routes/match-condition.ts';
import { clientPorts, countReaders, type IstioProxy, listGatewayPods } from '../gateway-pods.ts';

/** A server of a Gateway. `gateway` and `server` are undefined if the Gateway is not in the files. */
export interface ServerLocation {
  readonly gateway: Gateway | undefined;
  readonly name: string;
  readonly server: GatewayServer | undefined;
}

/** A VirtualService route, together with the server that it is attached to. */
export interface ServedRoute {
  readonly at: ServerLocation;
  readonly root: VirtualService;
  readonly route: VirtualServiceRoute;
  /** The matches of the route that apply to the server. A call must satisfy at least one of them. */
  readonly matches: VirtualServiceRoute['matches'];
  /** Whether all of the gateway's Pods receive the VirtualService, only some of them, or an unknown number. */
  readonly readers: 'all' | 'some' | 'unknown';
  readonly isCatchAll: boolean;
}

/** The routes for one host, from all servers and VirtualServices. */
export interface HostTable {
  readonly host: string;
  /** The object that declares the host. */
  readonly on: KubeObject;
  /** The routes, of which the catch-all routes come after all others. */
  readonly routes: readonly ServedRoute[];
  /** The server that redirects every call to HTTPS, if there is one. */
  readonly redirect: ServerLocation | undefined;
}

/** The routing table that Istio builds for one listener of a gateway. */
export interface GatewayTable {
  readonly listener: Listener;
  /** The port number of the first server. Port matches are compared with this number. */
  readonly serverPort: number | undefined;
  readonly servers: readonly ServerLocation[];
  /** The selectors of the Gateways that are merged because they run in the same Pods. */
  readonly merged: readonly Labels[] | undefined;
  readonly hosts: readonly HostTable[];
}

/** Lists the routing tables of all Istio Gateways, including Gateways that are not in the files. */
export const gatewayTables = memoize((mesh: MeshView): readonly GatewayTable[] => {
  const known: readonly ServerLocation[] = oldestFirst(mesh.all('Gateway'))
    .filter((gateway) => !letsOut(gateway))
    .flatMap((gateway) =>
      items(gateway.spec.servers).map((server) => ({ gateway, name: objectName(gateway), server })),
    );
  const gateways = keyedByName(mesh.all('Gateway'));
  const absent = [...rootsOf(mesh).keys()].filter((name) => !gateways.has(name));
  const elsewhere = absent.flatMap((name) => {
    const servers = [{ gateway: undefined, name, server: undefined }];
    return (['http', 'tls', 'tcp'] as const).map((protocol) =>
      tableOf(mesh, { protocol, port: undefined }, servers, undefined),
    );
  });
  const found = mergedServers(mesh, known).flatMap(({ servers, selectors }) => {
    // Servers that run in the same Pods share one listener per port.
    const at = servers.flatMap((one) => listenersOf(mesh, one).map((listener) => ({ one, listener })));
    const byListener = Map.groupBy(at, ({ listener }) => JSON.stringify(listener));
    return [...byListener.values()].flatMap((some) => {
      const { listener } = some[0]!;
      const ats = some.map(({ one }) => one);
      // All plaintext servers share one routing table. The SNI selects among the other servers, which may have
      // different requirements.
      const tables = listener.protocol === 'http' ? [ats] : withoutDuplicates(ats).map((one) => [one]);
      return tables.map((each) => tableOf(mesh, listener, each, selectors));
    });
  });
  return [...found, ...elsewhere.filter(({ hosts }) => hosts.length > 0)];
});

/**
 * Lists the routes for a host in order. A catch-all route hides the routes of all VirtualServices that come after its
 * own.
 */
export function listReachableRoutes({ routes }: HostTable): readonly ServedRoute[] {
  // A catch-all route at a Gateway outside the files hides nothing, because that Gateway may restrict its hosts to one
  // of the namespaces.
  const end = routes.findIndex(({ at, readers, isCatchAll }) => isCatchAll && at.server && readers === 'all');
  return routes.filter(({ root }, index) => end < 0 || index < end || root === routes[end]!.root);
}

/** The servers of Gateways that run in the same Pods. */
interface MergedServers {
  readonly servers: readonly ServerLocation[];
  readonly selectors?: readonly Labels[];
}

/**
 * Groups the servers of Gateways whose selectors match the same Pods, as `MergeGateways` does in
 * pilot/pkg/model/gateway.go. If the files contain no Pods, only equal selectors are known to match the same ones. An
 * empty selector matches all Pods.
 */
function mergedServers(mesh: MeshView, servers: readonly ServerLocation[]): readonly MergedServers[] {
  const bySelector = new Map(servers.map((at) => [selectorText(at), labels(at.gateway?.spec.selector)]));
  const texts = [...bySelector.keys()].filter((text) => text !== EMPTY);
  const byPod = new Map<PodWorkload, string[]>();
  const alone: string[][] = [];
  for (const text of texts) {
    const pods = listGatewayPods(mesh, { namespace: undefined, selector: bySelector.get(text)! });
    if (pods.length === 0) alone.push([text]);
    for (const pod of pods) byPod.set(pod, [...(byPod.get(pod) ?? []), text]);
  }
  const together = distinct([...byPod.values()], (some) => JSON.stringify(some));
  const groups = [...together, ...alone];
  return (groups.length > 0 ? groups : [[]]).map((some) => ({
    servers: servers.filter((at) => some.includes(selectorText(at)) || selectorText(at) === EMPTY),
    selectors: some.map((text) => bySelector.get(text)!),
  }));
}

const EMPTY = '[]';

function selectorText({ gateway }: ServerLocation): string {
  return JSON.stringify(Object.entries(labels(gateway?.spec.selector)).sort());
}

/** Lists the listeners of a server, one for each port through which clients reach it. */
function listenersOf(mesh: MeshView, at: ServerLocation): readonly Listener[] {
  const { protocol, port } = listenerOf(at.server!);
  const reached = port === undefined ? [undefined] : clientPorts(mesh, serverProxy(at), port);
  return reached.map((one) => ({ protocol, port: one }));
}

function listenerOf({ port, tls }: GatewayServer): Listener {
  const passes = tls?.mode === 'PASSTHROUGH' || tls?.mode === 'AUTO_PASSTHROUGH';
  const written = String(port?.protocol).toUpperCase();
  const http = /^(?:HTTP|HTTP2|HTTP_PROXY|GRPC|GRPC-WEB)$/.test(written);
  const protocol = http
    ? 'http'
    : written === 'HTTPS' && !passes
      ? 'https'
      : /^(?:TLS|HTTPS)$/.test(written)
        ? 'tls'
        : 'tcp';
  return { protocol, port: port?.number };
}

function tableOf(
  mesh: MeshView,
  listener: Listener,
  servers: readonly ServerLocation[],
  merged: readonly Labels[] | undefined,
): GatewayTable {
  const serverPort = servers[0]?.server?.port?.number;
  const attached = servers.flatMap((at) => attachedTo(mesh, at, listener.protocol, serverPort));
  const hosts = [...Map.groupBy(attached, ({ host }) => host.toLowerCase())].map(
    ([host, some]): HostTable => ({
      host,
      on: some[0]!.on,
      routes: some.flatMap(({ routes }) => routes).sort((a, b) => Number(a.isCatchAll) - Number(b.isCatchAll)),
      redirect: some.findLast(({ redirect }) => redirect)?.redirect,
    }),
  );
  return { listener, serverPort, servers, merged, hosts };
}

/** Lists the routes that each VirtualService attaches to a server, grouped by host. */
function attachedTo(
  mesh: MeshView,
  at: ServerLocation,
  protocol: Listener['protocol'],
  port: number | undefined,
): readonly HostTable[] {
  const redirect = protocol === 'http' && at.server?.tls?.httpsRedirect ? at : undefined;
  const attached = (rootsOf(mesh).get(at.name) ?? []).flatMap((root): readonly HostTable[] => {
    const hosts = commonHosts(root, at);
    const routes = hosts.length === 0 ? [] : servedRoutes(mesh, root, at, protocol, port);
    // Istio leaves out a VirtualService if none of its routes applies to the gateway.
    return routes.length === 0 ? [] : hosts.map((host) => ({ host, on: root, routes, redirect }));
  });
  const redirected = redirect ? hostsAt(at).flatMap((one) => (one.namespace === undefined ? [one.host] : [])) : [];
  return [...attached, ...redirected.map((host) => ({ host, on: at.gateway!, routes: [], redirect }))];
}

/**
 * Lists the routes of a VirtualService at a server, up to and including its first catch-all route. Routes after that
 * are unreachable.
 */
function servedRoutes(
  mesh: MeshView,
  root: VirtualService,
  at: ServerLocation,
  protocol: Listener['protocol'],
  port: number | undefined,
): readonly ServedRoute[] {
  const proxy = serverProxy(at);
  const readers = countReaders(mesh, { proxy }, root);
  if (readers === 'none') return [];
  const kind = protocol === 'tls' || protocol === 'tcp' ? protocol : 'http';
  const routes: ServedRoute[] = [];
  for (const route of virtualServiceRoutes(mesh)(root).filter((one) => one.protocol === kind)) {
    const matches = route.matches.length === 0 ? [{}] : appliedMatches(mesh, root, route.matches, port, at.name, proxy);
    const served = { at, root, route, readers };
    const end = kind === 'http' ? matches.findIndex((match) => isCatchAll(match) && !isRestrictedToSources(match)) : -1;
    const before = end < 0 ? matches : matches.slice(0, end);
    if (before.length > 0) routes.push({ ...served, matches: before, isCatchAll: false });
    if (end >= 0) return [...routes, { ...served, matches: [matches[end]!], isCatchAll: true }];
  }
  return routes;
}

/** Returns the proxy that runs a server. */
export function serverProxy({ gateway, name }: ServerLocation): IstioProxy {
  const namespace = gateway?.metadata.namespace ?? name.slice(0, name.indexOf('/'));
  return { by: 'istio', namespace, selector: gateway && labels(gateway.spec.selector) };
}

/** Lists the matches that apply to a gateway. Istio drops all others when it translates the route. */
function appliedMatches(
  mesh: MeshView,
  root: VirtualService,
  matches: VirtualServiceRoute['matches'],
  port: number | undefined,
  name: string,
  proxy: IstioProxy,
): VirtualServiceRoute['matches'] {
  const isName = (written: string) => gatewayName(written, root.metadata.namespace) === name;
  const pods = listGatewayPods(mesh, proxy);
  return matches.flatMap((match): VirtualServiceRoute['matches'] => {
    if (match.port && port !== undefined && match.port !== port) return [];
    const { sourceLabels: _labels, sourceNamespace: _namespace, ...rest } = match;
    if (texts(match.gateways).length > 0) return texts(match.gateways).some(isName) ? [rest] : [];
    const meant = new Set(pods.map((pod) => isFromPod(match, pod)));
    if (!isRestrictedToSources(match)) return [rest];
    if (meant.size !== 1) return [match];
    return meant.has(true) ? [rest] : [];
  });
}

function isFromPod(
  { sourceLabels, sourceNamespace }: VirtualServiceRoute['matches'][number],
  pod: Pick<Workload, 'namespace' | 'labels'>,
): boolean {
  return selects(labels(sourceLabels), pod.labels) && (!sourceNamespace || sourceNamespace === pod.namespace);
}

/**
 * Maps each gateway to its VirtualServices, in the order that Istio uses: private ones, then those exported to certain
 * namespaces, then all others.
 */
const rootsOf = memoize((mesh: MeshView): ReadonlyMap<string, readonly VirtualService[]> => {
  const sorted = oldestFirst(mesh.all('VirtualService')).toSorted(
    (a, b) => visibility(a, mesh.config) - visibility(b, mesh.config),
  );
  const attached = sorted.flatMap((root) => gatewayNames(root).map((name) => ({ name, root })));
  const byName = Map.groupBy(attached, ({ name }) => name);
  return new Map([...byName].map(([name, some]) => [name, some.map(({ root }) => root)]));
});

function visibility(root: VirtualService, config: MeshConfig): number {
  const exported = exportToOf(root, config);
  if (exported.includes('*')) return 2;
  return exported.every((one) => one === '.' || one === root.metadata.namespace) ? 0 : 1;
}

/**
 * Leaves out servers that repeat a host of an earlier server, as `mergeGateways` does in pilot/pkg/model/gateway.go.
 */
function withoutDuplicates(servers: readonly ServerLocation[]): readonly ServerLocation[] {
  const known = new Set<string>();
  return servers.filter((at) => {
    const { server } = at;
    if (!server?.tls) return true;
    const hosts = hostsAt(at).map(({ namespace = '', host }) => `${server.bind ?? ''} ${namespace}/${host}`);
    if (hosts.some((one) => known.has(one))) return false;
    for (const one of hosts) known.add(one);
    return true;
  });
}

/** Lists the hosts of a server, with the namespaces that they are restricted to. */
function hostsAt({ gateway, server }: ServerLocation): readonly ReturnType<typeof serverHost>[] {
  return texts(server?.hosts).map((written) => serverHost(written, gateway!.metadata.namespace));
}

/** Returns the hosts that a VirtualService and a server have in common. */
function commonHosts(root: VirtualService, at: ServerLocation): readonly string[] {
  const hosts = texts(root.spec.hosts);
  if (!at.server) return hosts;
  const common = hostsAt(at).flatMap(({ namespace, host }) => {
    if (namespace !== undefined && namespace !== root.metadata.namespace) return [];
    return hosts.filter((one) => hostsMeet(one, host)).map((one) => (coversHost(host, one) ? one : host));
  });
  return [...new Set(common)];
}

/** Indexes objects of one kind by `NAMESPACE/NAME`. */
export function keyedByName<T extends KubeObject>(objects: readonly T[]): ReadonlyMap<string, T> {
  return new Map(objects.map((one) => [objectName(one), one]));
}

function objectName({ metadata }: KubeObject): string {
  return `${metadata.namespace}/${metadata.name}`;
}

/** Lists the gateways that a VirtualService refers to, without the reserved name `mesh`. */
export function gatewayNames({ metadata, spec }: VirtualService): readonly string[] {
  const written = texts(spec.gateways).filter((one) => one !== 'mesh');
  return [...new Set(written.map((one) => gatewayName(one, metadata.namespace)))];
}

/**
 * Converts a reference to a gateway to the form `namespace/name`. The reference can be written as `NAME` (in the same
 * namespace), as `NAMESPACE/NAME`, or in the legacy form `NAME.NAMESPACE.svc.cluster.local`.
 */
export function gatewayName(written: string, namespace: string): string {
  if (written.includes('/')) return written;
  const [name, other, svc] = written.split('.');
  return other && svc === 'svc' ? `${other}/${name}` : `${namespace}/${written}`;
}

/**
 * Checks whether a gateway is an egress gateway, which sends traffic out of the mesh. Istio's charts label it as such.
 */
function letsOut(gateway: Gateway): boolean {
  return Object.values(labels(gateway.spec.selector)).some((value) =>
    /(?<![a-z0-9])egress(?:gateway)?(?![a-z0-9])/i.test(value),
  );
}
