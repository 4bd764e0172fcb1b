/**
 * Routers of Istio's Gateways. VirtualServices of one host are merged, oldest first, and routes that match everything go
 * last. Source: VirtualService reference; pilot/pkg/networking/core/gateway.go and route.go of Istio.
 */
import { remembered } from '@meshpass/identity/memory/remembered';
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
  serverHost,
  type VirtualService,
} from '@meshpass/istio';
import { distinct, items, labels, texts } from '@meshpass/istio/members';
import { ALWAYS, all, any, type Condition, NEVER, not, text } from '../diff/formula/condition.ts';
import { clientPorts } from '../exposure/entries/server-ports.ts';
import { gatewayName, letsOut, named, toEntry } from '../exposure/entries/virtual-services.ts';
import type { EntryPoint } from '../exposure/exposure.ts';
import { podsOfGateway, readersOf, whyReadersUnknown } from '../exposure/gateway-pods.ts';
import { trustedHops } from '../exposure/trusted-hops.ts';
import { istioSteps } from './istio-steps.ts';
import { type Listener, opaque } from './match-condition.ts';
import type { Router, Step, VirtualHost } from './router.ts';

/** Server of a Gateway, or a Gateway that is not among the files. */
interface ServerAt {
  readonly gateway: Gateway | undefined;
  readonly name: string;
  readonly server: GatewayServer | undefined;
}

/** Lists the routers of Istio's Gateways. */
export function istioRouters(mesh: MeshView): readonly Router[] {
  const gateways = named(mesh.all('Gateway'));
  const known: readonly ServerAt[] = oldestFirst(mesh.all('Gateway'))
    .filter((gateway) => !letsOut(gateway))
    .flatMap((gateway) =>
      items(gateway.spec.servers).map((server) => ({
        gateway,
        name: `${gateway.metadata.namespace}/${gateway.metadata.name}`,
        server,
      })),
    );
  const absent = new Set(
    mesh.all('VirtualService').flatMap((root) =>
      texts(root.spec.gateways)
        .filter((written) => written !== 'mesh')
        .map((written) => gatewayName(written, root.metadata.namespace))
        .filter((name) => !gateways.has(name)),
    ),
  );
  const elsewhere = [...absent].map(
    (name): MergedServers => ({ servers: [{ gateway: undefined, name, server: undefined }] }),
  );
  return [...mergedServers(mesh, known), ...elsewhere].flatMap((merged) => {
    // Servers of the same Pods share the listener of a port.
    const at = merged.servers.flatMap((one) => listenersOf(mesh, one).map((listener) => ({ one, listener })));
    const byListener = Map.groupBy(at, ({ listener }) => JSON.stringify(listener));
    return [...byListener.values()].flatMap((some) =>
      routersOf(
        mesh,
        some[0]!.listener,
        some.map(({ one }) => one),
        merged.selectors,
      ),
    );
  });
}

/** Servers of Gateways that the same Pods run. */
interface MergedServers {
  readonly servers: readonly ServerAt[];
  readonly selectors?: readonly Labels[];
}

/**
 * Groups the servers of Gateways that the same Pods run, as `MergeGateways` in pilot/pkg/model/gateway.go does: those whose
 * selectors match. Without the Pods, only equal selectors are known to match the same ones. An empty one matches all.
 */
function mergedServers(mesh: MeshView, servers: readonly ServerAt[]): readonly MergedServers[] {
  const bySelector = new Map(servers.map((at) => [selectorText(at), labels(at.gateway?.spec.selector)]));
  const texts = [...bySelector.keys()].filter((text) => text !== EMPTY);
  const byPod = new Map<PodWorkload, string[]>();
  const alone: string[][] = [];
  for (const text of texts) {
    const pods = podsOfGateway(mesh, { by: 'istio', namespace: undefined, selector: bySelector.get(text)! });
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

function selectorText({ gateway }: ServerAt): string {
  return JSON.stringify(Object.entries(labels(gateway?.spec.selector)).sort());
}

/** Lists the listeners of a server, one for each port at which clients reach it. */
function listenersOf(mesh: MeshView, { gateway, server }: ServerAt): readonly Listener[] {
  const { protocol, port } = listenerOf(server);
  if (!gateway || port === undefined) return [{ protocol, port }];
  const { namespace } = gateway.metadata;
  const reached = clientPorts(mesh, { namespace, selector: labels(gateway.spec.selector) }, port);
  return reached.map((one) => ({ protocol, port: one }));
}

function listenerOf(server: GatewayServer | undefined): Listener {
  if (!server) return { protocol: 'http', port: undefined };
  const { port, tls } = server;
  const passes = tls?.mode === 'PASSTHROUGH' || tls?.mode === 'AUTO_PASSTHROUGH';
  const written = String(port?.protocol).toUpperCase();
  const http = /^(?:HTTP|HTTP2|GRPC|GRPC-WEB)$/.test(written);
  const protocol = http
    ? 'http'
    : written === 'HTTPS' && !passes
      ? 'https'
      : /^(?:TLS|HTTPS)$/.test(written)
        ? 'tls'
        : 'tcp';
  return { protocol, port: port?.number };
}

function routersOf(
  mesh: MeshView,
  listener: Listener,
  servers: readonly ServerAt[],
  merged: readonly Labels[] | undefined,
): readonly Router[] {
  // Plain servers share one routing table. The others are chosen by SNI, and have different requirements.
  const tables = listener.protocol === 'http' ? [servers] : withoutDuplicates(servers).map((one) => [one]);
  return tables.map((some): Router => {
    const [{ server, ...first }] = some as [ServerAt];
    const entry = toEntry(
      first.name,
      first.gateway,
      some.flatMap((one) => one.server ?? []),
      mesh,
    );
    // Matches by port compare the number of the first server.
    const own = listenerOf(server);
    return {
      listener,
      entry,
      virtualHosts: virtualHostsOf(mesh, some, own),
      ...(own.port !== undefined && { serverPort: own.port }),
      ...(merged && { merged }),
      ...(server?.tls && { server }),
    };
  });
}

/** Omits servers that name the same host as an earlier one, as `mergeGateways` in pilot/pkg/model/gateway.go does. */
function withoutDuplicates(servers: readonly ServerAt[]): readonly ServerAt[] {
  const known = new Set<string>();
  return servers.filter(({ gateway, server }) => {
    if (!gateway || !server?.tls) return true;
    const hosts = texts(server.hosts).map((written) => {
      const { namespace, host } = serverHost(written, gateway.metadata.namespace);
      return `${server.bind ?? ''} ${namespace ?? ''}/${host}`;
    });
    if (hosts.some((one) => known.has(one))) return false;
    for (const one of hosts) known.add(one);
    return true;
  });
}

/** Routes of one host, from all servers and VirtualServices. */
interface HostTable {
  readonly host: string;
  readonly on: KubeObject;
  readonly steps: Step[];
  readonly last: Step[];
  redirect?: Step;
}

/** Merges the servers of a routing table, as `buildGatewayHTTPRouteConfig` in pilot/pkg/networking/core/gateway.go. */
function virtualHostsOf(mesh: MeshView, servers: readonly ServerAt[], listener: Listener): readonly VirtualHost[] {
  const tables = new Map<string, HostTable>();
  const tableOf = (host: string, on: KubeObject): HostTable => {
    const name = host.toLowerCase();
    const found = tables.get(name) ?? { host: name, on, steps: [], last: [] };
    tables.set(name, found);
    return found;
  };
  for (const at of servers) {
    const entry = toEntry(at.name, at.gateway, at.server ? [at.server] : [], mesh);
    const redirect = redirectOf(mesh, at.server, entry, listener);
    for (const attached of attachedTo(mesh, at, listener, entry)) {
      const table = tableOf(attached.host, attached.on);
      table.steps.push(...attached.steps);
      table.last.push(...attached.last);
      if (redirect) table.redirect = redirect;
    }
    if (redirect) for (const host of hostsOfAll(at)) tableOf(host, at.gateway!).redirect = redirect;
  }
  return [...tables.values()].map(({ host, on, steps, last, redirect }) => ({
    host,
    on,
    steps: redirect ? [redirect, ...steps, ...last] : [...steps, ...last],
  }));
}

/** Lists the routes of each VirtualService under each of its hosts at a server. */
function attachedTo(mesh: MeshView, at: ServerAt, listener: Listener, entry: EntryPoint): readonly HostTable[] {
  return (rootsOf(mesh).get(at.name) ?? []).flatMap((root): readonly HostTable[] => {
    const hosts = commonHosts(root, at.gateway, at.server);
    const exported = hosts.length === 0 ? NEVER : exportedTo(mesh, root, entry);
    if (exported === NEVER) return [];
    const found = istioSteps(mesh, root, listener, entry);
    // Istio leaves out a VirtualService of which no route applies to the gateway.
    if (found.steps.length + found.last.length === 0) return [];
    const [steps, last] = [within(exported, found.steps), within(exported, found.last)];
    return hosts.map((host) => ({ host, on: root, steps, last }));
  });
}

/** Lists the hosts of a server that are not limited to a namespace. */
function hostsOfAll({ gateway, server }: ServerAt): readonly string[] {
  return texts(server?.hosts).flatMap((written) => {
    const { namespace, host } = serverHost(written, gateway!.metadata.namespace);
    return namespace === undefined ? [host] : [];
  });
}

function within(exported: Condition, steps: readonly Step[]): Step[] {
  return exported === ALWAYS
    ? [...steps]
    : steps.map((step) => ({ ...step, condition: all([exported, step.condition]) }));
}

/** Returns the redirect to HTTPS, which calls escape that a trusted proxy received with TLS (`require_tls` of Envoy). */
function redirectOf(
  mesh: MeshView,
  server: GatewayServer | undefined,
  { proxy, object }: EntryPoint,
  { protocol }: Listener,
): Step | undefined {
  if (!server?.tls?.httpsRedirect || protocol !== 'http') return undefined;
  const hops = proxy.by === 'istio' ? trustedHops(mesh, proxy) : [0];
  const isPlain = not(text('header:x-forwarded-proto', { form: 'exact', text: 'https' }));
  const condition = hops.every((one) => one > 0)
    ? isPlain
    : hops.includes(0) && new Set(hops).size === 1
      ? ALWAYS
      : any([isPlain, opaque('only some Pods of the gateway trust x-forwarded-proto')]);
  const path = ['spec', 'servers'];
  return { on: object!, path, condition, targets: [], answer: 'redirects it to HTTPS', status: 301 };
}

/** VirtualServices by gateway, in Istio's order: private ones, those exported to some namespaces, all others. */
const rootsOf = remembered((mesh: MeshView): ReadonlyMap<string, readonly VirtualService[]> => {
  const found = new Map<string, VirtualService[]>();
  const sorted = oldestFirst(mesh.all('VirtualService')).toSorted(
    (a, b) => visibility(a, mesh.config) - visibility(b, mesh.config),
  );
  for (const root of sorted) {
    const names = texts(root.spec.gateways).map((one) => gatewayName(one, root.metadata.namespace));
    for (const name of new Set(names)) {
      const some = found.get(name);
      if (some) some.push(root);
      else found.set(name, [root]);
    }
  }
  return found;
});

function visibility(root: VirtualService, config: MeshConfig): number {
  const exported = exportToOf(root, config);
  if (exported.includes('*')) return 2;
  return exported.every((one) => one === '.' || one === root.metadata.namespace) ? 0 : 1;
}

/** Determines whether the Pods of a gateway know a VirtualService. */
function exportedTo(mesh: MeshView, root: VirtualService, entry: EntryPoint): Condition {
  const readers = readersOf(mesh, entry, root);
  if (readers === 'all') return ALWAYS;
  return readers === 'none' ? NEVER : opaque(whyReadersUnknown(entry, root));
}

/** Intersects the hosts of a VirtualService with those of a server. */
function commonHosts(
  root: VirtualService,
  gateway: Gateway | undefined,
  server: GatewayServer | undefined,
): readonly string[] {
  const hosts = texts(root.spec.hosts);
  if (!gateway || !server) return hosts;
  const common = texts(server.hosts).flatMap((written) => {
    const { namespace, host } = serverHost(written, gateway.metadata.namespace);
    if (namespace !== undefined && namespace !== root.metadata.namespace) return [];
    return hosts.filter((one) => hostsMeet(one, host)).map((one) => (coversHost(host, one) ? one : host));
  });
  return [...new Set(common)];
}
