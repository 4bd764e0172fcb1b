/**
 * Routers of Istio's Gateways. VirtualServices of one host are merged, oldest first, and routes that match everything go
 * last. Source: VirtualService reference; pilot/pkg/networking/core/gateway.go and route.go of Istio.
 */
import {
  coversHost,
  fullHost,
  type Gateway,
  type GatewayServer,
  type HttpMatch,
  type HttpRoute,
  hostsMeet,
  type MeshView,
  oldestFirst,
  selects,
  serverHost,
  type VirtualService,
} from '@meshpass/istio';
import { items, labels, record, text, texts } from '@meshpass/istio/members';
import { ALWAYS, all, any, type Condition, NEVER } from '../diff/formula/condition.ts';
import {
  gatewayName,
  httpRoutes,
  letsOut,
  named,
  type RouteAt,
  toEntry,
} from '../exposure/entries/virtual-services.ts';
import type { EntryPoint, Exposure } from '../exposure/exposure.ts';
import { isExportedTo } from '../routes/destinations.ts';
import { hostCondition, isForGateway, type Listener, matchCondition, opaque } from './match-condition.ts';
import type { Router, Step, VirtualHost } from './router.ts';
import { targetsAt } from './target.ts';

/** Server of a Gateway, or a Gateway that is not among the files. */
interface ServerAt {
  readonly gateway: Gateway | undefined;
  readonly name: string;
  readonly server: GatewayServer | undefined;
}

/** Lists the routers of Istio's Gateways. */
export function istioRouters(mesh: MeshView): readonly Router[] {
  const gateways = named(mesh.all('Gateway'));
  const known: readonly ServerAt[] = mesh
    .all('Gateway')
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
  const byListener = Map.groupBy(servers, (at) => `${podsOf(at)} ${JSON.stringify(listenerOf(at.server))}`);
  return [...byListener.values()].flatMap((some) => routersOf(mesh, some));
}

function podsOf({ gateway, name }: ServerAt): string {
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
  const delegates = named(mesh.all('VirtualService'));
  const listener = listenerOf(servers[0]!.server);
  const roots = oldestFirst(mesh.all('VirtualService'));
  // Servers with different requirements, such as a client certificate, are separate routers.
  return servers.map(({ gateway, name, server }): Router => {
    const entry = toEntry(name, gateway, server ? [server] : [], mesh);
    const attached = roots
      .filter(({ spec, metadata }) => texts(spec.gateways).some((one) => gatewayName(one, metadata.namespace) === name))
      .flatMap((root) => {
        const hosts = commonHosts(root, gateway, server);
        const exported = exportedTo(mesh, root, entry);
        if (hosts.length === 0 || exported === NEVER) return [];
        const found = stepsOf(mesh, root, delegates, listener, entry, server);
        const within = (steps: readonly Step[]) =>
          steps.map((step) => ({ ...step, condition: all([exported, step.condition]) }));
        return hosts.map((host) => ({ steps: within(found.steps), last: within(found.last), host, on: root }));
      });
    const virtualHosts = [...Map.groupBy(attached, ({ host }) => host)].map(
      ([host, some]): VirtualHost => ({
        host,
        on: some[0]!.on,
        steps: [...some.flatMap(({ steps }) => steps), ...some.flatMap(({ last }) => last)],
      }),
    );
    return { listener, entry, virtualHosts };
  });
}

/** Determines whether the Pods of a gateway know a VirtualService: only in namespaces to which it is exported. */
function exportedTo(mesh: MeshView, root: VirtualService, { name, proxy }: EntryPoint): Condition {
  if (texts(root.spec.exportTo).length === 0 || proxy.by !== 'istio') return ALWAYS;
  const { namespace, selector, confined } = proxy;
  const pods = selector && !confined ? mesh.pods.filter((pod) => selects(selector, pod.labels)) : [];
  const places = confined && namespace !== undefined ? [namespace] : pods.map((pod) => pod.namespace);
  const served = new Set(places.map((place) => isExportedTo(root, place)));
  if (served.size === 1) return served.has(true) ? ALWAYS : NEVER;
  if (texts(root.spec.exportTo).includes('*')) return ALWAYS;
  const described = `VirtualService ${root.metadata.namespace}/${root.metadata.name}`;
  return opaque(
    `${described} is exported to some namespaces only, and those of the Pods of Gateway ${name} are not known`,
  );
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

/** Returns the steps of a VirtualService, and those that match everything. Later routes than such a one are dropped. */
function stepsOf(
  mesh: MeshView,
  root: VirtualService,
  delegates: ReadonlyMap<string, VirtualService>,
  listener: Listener,
  entry: EntryPoint,
  server: GatewayServer | undefined,
): { readonly steps: readonly Step[]; readonly last: readonly Step[] } {
  if (listener.protocol === 'tls' || listener.protocol === 'tcp') {
    return { steps: connectionSteps(mesh, root, listener, entry), last: [] };
  }
  if (server?.tls?.httpsRedirect) {
    const answer = 'redirects it to HTTPS';
    return {
      steps: [{ on: entry.object!, path: ['spec', 'servers'], condition: ALWAYS, targets: [], answer }],
      last: [],
    };
  }
  const steps: Step[] = [];
  for (const at of httpRoutes(root, delegates)) {
    const step = stepOf(mesh, root, at, listener, entry);
    if (step.condition === ALWAYS) return { steps, last: [step] };
    if (step.condition !== NEVER) steps.push(step);
  }
  return { steps, last: [] };
}

function stepOf(mesh: MeshView, root: VirtualService, at: RouteAt, listener: Listener, entry: EntryPoint): Step {
  const isName = (written: string) => gatewayName(written, root.metadata.namespace) === entry.name;
  const matches = at.matches.filter((match) => isForGateway(match, isName));
  const condition =
    at.matches.length === 0 ? ALWAYS : any(matches.map((match: HttpMatch) => matchCondition(match, listener)));
  const route = at.route as HttpRoute | undefined;
  const targets = at.destinations.flatMap(({ destination, weight }, index) => {
    const host = text(destination?.host);
    if (host === undefined || (weight === 0 && at.destinations.length > 1)) return [];
    const path = [...at.path, 'route', index, 'destination', 'host'];
    const exposure = exposureOf(mesh, root, at, entry, host, destination!);
    return targetsAt(mesh, { exposure, entry, changed: changedBy(route) }, path);
  });
  return { on: at.on, path: at.path, condition, targets, ...(targets.length === 0 && { answer: answerOf(route) }) };
}

function answerOf({ redirect, directResponse }: HttpRoute = {}): string {
  if (redirect !== undefined) return 'redirects it';
  return directResponse === undefined ? 'answers it with an error' : 'answers it itself';
}

/** Lists the fields that a route changes before the workload sees them. */
function changedBy({ rewrite, headers }: HttpRoute = {}): ReadonlySet<string> {
  const request = record(record(headers).request);
  return new Set([
    ...(rewrite?.uri !== undefined || rewrite?.uriRegexRewrite !== undefined ? ['path'] : []),
    ...(rewrite?.authority !== undefined ? ['host'] : []),
    ...(Object.keys(request).length > 0 ? ['header'] : []),
  ]);
}

function exposureOf(
  mesh: MeshView,
  root: VirtualService,
  at: Pick<RouteAt, 'on' | 'path' | 'protocol' | 'route'>,
  entry: EntryPoint,
  host: string,
  { subset, port }: { readonly subset?: string; readonly port?: { readonly number?: number } },
): Exposure {
  const full = fullHost(host, at.on.metadata.namespace, mesh.config.clusterDomain);
  const service = mesh.serviceAt(full);
  const [only, ...others] = items(service?.spec.ports);
  return {
    on: at.on,
    root,
    path: at.path,
    destinationPath: at.path,
    protocol: at.protocol,
    entries: [entry],
    hosts: [],
    matches: [],
    sent: [],
    route: at.route,
    // Without a port, the Service's only port is meant.
    destination: { host: full, subset, port: port?.number ?? (others.length === 0 ? only?.port : undefined) },
    service,
  };
}

/** Routes of connections: by SNI for TLS, in order. */
function connectionSteps(mesh: MeshView, root: VirtualService, listener: Listener, entry: EntryPoint): readonly Step[] {
  const protocol = listener.protocol === 'tls' ? 'tls' : 'tcp';
  const isName = (written: string) => gatewayName(written, root.metadata.namespace) === entry.name;
  const routes: readonly {
    readonly match?: readonly object[];
    readonly route?: readonly { readonly destination?: object }[];
  }[] = items(root.spec[protocol]);
  return routes.map((route, index): Step => {
    const path = ['spec', protocol, index];
    const matches = items(route.match as readonly (HttpMatch & { readonly sniHosts?: readonly string[] })[]);
    const conditions = matches
      .filter((match) => isForGateway(match, isName))
      .map((match): Condition => {
        if (match.port !== undefined && listener.port !== undefined && match.port !== listener.port) return NEVER;
        const names = texts(match.sniHosts);
        return names.length === 0 ? ALWAYS : any(names.map(hostCondition));
      });
    const targets = items(route.route).flatMap(({ destination }, nth) => {
      const host = text(record(destination).host);
      if (host === undefined) return [];
      const at = { on: root, path, protocol, route: undefined } as const;
      const exposure = exposureOf(mesh, root, at, entry, host, destination as { readonly subset?: string });
      const written = [...path, 'route', nth, 'destination', 'host'];
      return targetsAt(mesh, { exposure, entry, changed: new Set() }, written);
    });
    return { on: root, path, condition: matches.length === 0 ? ALWAYS : any(conditions), targets };
  });
}
