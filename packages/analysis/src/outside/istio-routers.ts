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
  type MeshConfig,
  type MeshView,
  oldestFirst,
  serverHost,
  type VirtualService,
} from '@meshpass/istio';
import { items, labels, texts } from '@meshpass/istio/members';
import { ALWAYS, all, type Condition, NEVER } from '../diff/formula/condition.ts';
import { gatewayName, letsOut, named, toEntry } from '../exposure/entries/virtual-services.ts';
import type { EntryPoint } from '../exposure/exposure.ts';
import { readersOf, whyReadersUnknown } from '../exposure/gateway-pods.ts';
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
  const servers = [...known, ...[...absent].map((name): ServerAt => ({ gateway: undefined, name, server: undefined }))];
  // Gateways of the same Pods share the listener of a port.
  const byListener = Map.groupBy(servers, (at) => `${selectedBy(at)} ${JSON.stringify(listenerOf(at.server))}`);
  return [...byListener.values()].flatMap((some) => routersOf(mesh, some));
}

function selectedBy({ gateway, name }: ServerAt): string {
  return gateway ? JSON.stringify(Object.entries(labels(gateway.spec.selector)).sort()) : name;
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

function routersOf(mesh: MeshView, servers: readonly ServerAt[]): readonly Router[] {
  const listener = listenerOf(servers[0]!.server);
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
    return { listener, entry, virtualHosts: virtualHostsOf(mesh, some, listener), ...(server?.tls && { server }) };
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
    const redirect = redirectOf(at.server, entry, listener);
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

function redirectOf(server: GatewayServer | undefined, entry: EntryPoint, { protocol }: Listener): Step | undefined {
  if (!server?.tls?.httpsRedirect || protocol !== 'http') return undefined;
  const path = ['spec', 'servers'];
  return { on: entry.object!, path, condition: ALWAYS, targets: [], answer: 'redirects it to HTTPS', status: 301 };
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
