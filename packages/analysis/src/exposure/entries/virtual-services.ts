/**
 * Routes that VirtualServices expose through Istio's Gateways: per route and destination, with hosts and matches.
 * Source: VirtualService and Gateway reference.
 */

import { memory } from '@meshpass/identity/memory/remembered';
import {
  fullHost,
  type Gateway,
  type GatewayServer,
  type HttpMatch,
  hostsMeet,
  type KubeObject,
  type L4Match,
  type MeshView,
  type StringMatch,
  serverHost,
  type VirtualService,
} from '@meshpass/istio';
import { items, labels, text, texts } from '@meshpass/istio/members';
import { httpRoutes, isCatchAll, isFromSome, type RouteAt } from '../../routes/http-routes.ts';
import { forwardsNothing } from '../../routes/refused-route.ts';
import { routeRewrite } from '../../routes/rewrite.ts';
import type { EntryPoint, EntryProxy, Exposure, Identity } from '../exposure.ts';
import { entryReading } from '../gateway-pods.ts';
import { patchesAtEntry } from '../identity.ts';
import { whyInternalPods, whyUnpublished } from '../internal.ts';
import { mayOpen, nameOf } from '../patches.ts';
import { coversUri } from '../text-match.ts';
import { trustedHops } from '../trusted-hops.ts';
import { type CatchAll, mergedHosts } from './merged-hosts.ts';
import { clientPorts } from './server-ports.ts';

/** Maps `NAMESPACE/NAME` to the objects of one kind. */
export function named<T extends KubeObject>(objects: readonly T[]): ReadonlyMap<string, T> {
  return new Map(objects.map((one) => [`${one.metadata.namespace}/${one.metadata.name}`, one]));
}

/** Lists everything that VirtualServices expose through gateways. */
export function exposuresOfVirtualServices(mesh: MeshView): readonly Exposure[] {
  const gateways = named(mesh.all('Gateway'));
  const isTaken = takenHosts(mesh, gateways);
  return mesh.all('VirtualService').flatMap((root) => {
    const hosts = texts(root.spec.hosts);
    const uses = servingGateways(mesh, root, hosts, gateways);
    if (uses.length === 0 || hosts.length === 0) return [];
    const entries = reachedBy(uses, root, mesh, isTaken);
    const routes = [...behindRefusals(httpRoutes(mesh, root), uses, root), ...l4Routes(root)];
    return routes.flatMap(({ destinations, ...at }) => {
      const through = entries(at);
      if (through.length === 0) return [];
      return destinations.flatMap(({ destination, weight = 0, headers }, index): readonly Exposure[] => {
        const host = text(destination?.host);
        // Istio omits a destination without weight if others have one.
        const isOmitted = weight === 0 && destinations.some((one) => (one.weight ?? 0) > 0);
        if (host === undefined || isOmitted) return [];
        const full = fullHost(host, at.on.metadata.namespace, mesh.config.clusterDomain);
        return [
          {
            ...at,
            root,
            hosts,
            entries: through,
            rewrite: (match) => routeRewrite(at.route ?? {}, match, headers),
            destinationPath: [...at.path, 'route', index, 'destination', 'host'],
            destination: { host: full, subset: destination!.subset, port: destination!.port?.number },
            service: mesh.serviceAt(full),
          },
        ];
      });
    });
  });
}

/** Gateway of a VirtualService, and its servers for the hosts. Undefined and empty if it is not among the files. */
interface GatewayUse {
  readonly name: string;
  readonly gateway: Gateway | undefined;
  readonly servers: readonly GatewayServer[];
}

type MatchedRoute = Pick<RouteAt, 'matches' | 'protocol'>;

/**
 * Returns a function that lists the entry points of each route, to be called in the order of the routes: a route that
 * matches everything at a server ends the routes there. Source: `BuildHTTPRoutesForVirtualService` in
 * pilot/pkg/networking/core/route/route.go.
 */
function reachedBy(
  uses: readonly GatewayUse[],
  root: VirtualService,
  mesh: MeshView,
  isTaken: (at: CatchAll) => boolean,
): (at: MatchedRoute) => EntryPoint[] {
  const entries = memory();
  const serversOf = (use: GatewayUse): readonly (GatewayServer | undefined)[] =>
    use.gateway ? use.servers : [undefined];
  const open = new Map(uses.map((use) => [use, serversOf(use)]));
  return ({ matches, protocol }) =>
    uses.flatMap((use): readonly EntryPoint[] => {
      const left = protocol === 'http' ? open.get(use)! : serversOf(use);
      const meets = (server: GatewayServer | undefined) =>
        matches.length === 0 || matches.some((match) => takes(server, match, use, root));
      const isElsewhere = (server: GatewayServer | undefined) =>
        protocol === 'http' &&
        matches.every(isCatchAll) &&
        server !== undefined &&
        isTaken({ root, gateway: use.gateway!, server });
      const met = left.filter((server) => meets(server) && !isElsewhere(server));
      if (protocol === 'http') {
        open.set(
          use,
          left.filter((server) => !endsAt(server, matches, use, root)),
        );
      }
      if (met.length === 0) return [];
      const key = `${use.name} ${met.map((server) => serversOf(use).indexOf(server))}`;
      return entries(key, () => {
        const servers = met.filter((server) => server !== undefined);
        const entry = entryReading(mesh, withRedirect(toEntry(use.name, use.gateway, servers, mesh), servers, mesh), [
          root,
        ]);
        return entry ? [entry] : [];
      });
    });
}

/** Finds the servers at which the routes of VirtualServices end. */
function takenHosts(mesh: MeshView, gateways: ReadonlyMap<string, Gateway>): (at: CatchAll) => boolean {
  const catchAlls = mesh.all('VirtualService').flatMap((root) => {
    const routes = httpRoutes(mesh, root);
    return servingGateways(mesh, root, texts(root.spec.hosts), gateways).flatMap((use) =>
      use.servers
        .filter((server) => routes.some(({ matches }) => endsAt(server, matches, use, root)))
        .map((server): CatchAll => ({ root, gateway: use.gateway!, server })),
    );
  });
  return mergedHosts(mesh, catchAlls);
}

/** Whether one of the matches takes every call at a server. */
function endsAt(
  server: GatewayServer | undefined,
  matches: readonly HttpMatch[],
  use: GatewayUse,
  root: VirtualService,
): boolean {
  return (
    matches.length === 0 ||
    matches.some((match) => isCatchAll(match) && !isFromSome(match) && takes(server, match, use, root))
  );
}

function takes(server: GatewayServer | undefined, match: HttpMatch, use: GatewayUse, root: VirtualService): boolean {
  return bindsTo(match, use, root) && isAtPort(match, server);
}

function isAtPort({ port }: HttpMatch, server: GatewayServer | undefined): boolean {
  return port === undefined || server?.port?.number === undefined || server.port.number === port;
}

/** Whether a part of a match restricts nothing. */
function isEmpty(part: unknown): boolean {
  return part === undefined || part === null || (typeof part === 'object' && Object.keys(part).length === 0);
}

/** Calls without a header or claim, which a route takes that forwards nothing. */
interface Refusal {
  readonly uri: HttpMatch['uri'];
  readonly header: string;
  readonly value: StringMatch;
}

/**
 * Adds the claim or header that calls need to get past earlier routes: a route that forwards nothing takes those without it.
 * Source: https://istio.io/latest/docs/tasks/security/authentication/jwt-route/
 */
function behindRefusals(
  routes: readonly RouteAt[],
  uses: readonly GatewayUse[],
  root: VirtualService,
): readonly RouteAt[] {
  const refusals: Refusal[] = [];
  const narrowed = (match: HttpMatch): HttpMatch => {
    const refusal = refusals.find(({ uri, header }) => isClaim(header) && coversUri(uri, match.uri));
    return refusal ? { ...match, headers: { ...match.headers, [refusal.header]: refusal.value } } : match;
  };
  return routes.map((at) => {
    const given = at.matches.length > 0 ? at.matches : [{}];
    const matches = refusals.some(({ header }) => isClaim(header)) ? given.map(narrowed) : at.matches;
    const unrefused = refusals.filter(
      ({ uri, header }) => !isClaim(header) && given.some((match) => coversUri(uri, match.uri)),
    );
    if (at.route && forwardsNothing(at.route)) {
      const forAll = at.matches.filter((match) => uses.every((use) => bindsTo(match, use, root)));
      refusals.push(...forAll.flatMap((match) => refusalOf(match) ?? []));
    }
    const headers = Object.fromEntries(unrefused.map(({ header, value }) => [header, value]));
    return { ...at, matches, ...(unrefused.length > 0 && { unrefused: headers }) };
  });
}

function refusalOf({ withoutHeaders, uri, ...others }: HttpMatch): Refusal | undefined {
  const absent = Object.entries(withoutHeaders ?? {});
  const [[header, value] = []] = absent;
  const isForAll = isCatchAll(others) && !isFromSome(others) && others.port === undefined && !others.ignoreUriCase;
  if (header === undefined || !isForAll) return undefined;
  const isRead = isClaim(header) ? !isEmpty(value) && absent.every(([name]) => isClaim(name)) : absent.length === 1;
  return isRead ? { uri, header, value: value ?? {} } : undefined;
}

function isClaim(header: string): boolean {
  return header.startsWith('@request.auth.claims');
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
  return servingGateways(mesh, root, hosts, gateways).map(({ name, gateway, servers }) =>
    toEntry(name, gateway, servers, mesh),
  );
}

function servingGateways(
  mesh: MeshView,
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
    const servers = items(gateway?.spec.servers).filter(
      (server) => !(redirects(server) && alwaysRedirects(mesh, gateway!)) && serves(server, gateway!, root, hosts),
    );
    // A Gateway without a server for one of the hosts exposes nothing.
    if (gateway && servers.length === 0) continue;
    uses.push({ name, gateway, servers });
  }
  return uses;
}

function redirects({ port, tls }: GatewayServer): boolean {
  return tls?.httpsRedirect === true && !/^(?:HTTPS|TLS)$/i.test(String(port?.protocol));
}

/**
 * Whether a gateway never forwards the calls that a server redirects to HTTPS. Those that a trusted proxy received with
 * TLS are forwarded, and an EnvoyFilter may remove the redirect.
 */
function alwaysRedirects(mesh: MeshView, { metadata, spec }: Gateway): boolean {
  const proxy = { by: 'istio', namespace: metadata.namespace, selector: labels(spec.selector) } as const;
  return trustedHops(mesh, proxy).every((hops) => hops === 0) && !whyRedirectRemoved(mesh, proxy);
}

function whyRedirectRemoved(mesh: MeshView, proxy: EntryProxy): string | undefined {
  const patch = patchesAtEntry(mesh, proxy).find((one) => mayOpen(one, 'GATEWAY', false));
  return patch && `${nameOf(patch)} changes the gateway's proxy and may remove the redirect to HTTPS`;
}

/** Adds the header that calls need at servers that redirect all others. */
function withRedirect(entry: EntryPoint, servers: readonly GatewayServer[], mesh: MeshView): EntryPoint {
  const { proxy, own } = entry;
  if (proxy.by !== 'istio' || servers.length === 0 || !servers.every(redirects)) return entry;
  if (trustedHops(mesh, proxy).some((hops) => hops > 0)) return { ...entry, headers: { 'x-forwarded-proto': 'https' } };
  const reason = whyRedirectRemoved(mesh, proxy);
  return reason === undefined || own.state !== 'none' ? entry : { ...entry, own: { state: 'unknown', reason } };
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
    ports: servers.flatMap(({ port }) => {
      const { number, protocol } = port ?? {};
      const reached = number === undefined ? [undefined] : clientPorts(mesh, { namespace, selector }, number);
      return reached.map((one) => ({ number: one, protocol }));
    }),
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
  return Object.values(labels(gateway.spec.selector)).some((value) =>
    /(?<![a-z0-9])egress(?:gateway)?(?![a-z0-9])/i.test(value),
  );
}

function serves(server: GatewayServer, gateway: Gateway, root: VirtualService, hosts: readonly string[]): boolean {
  return texts(server.hosts).some((written) => {
    const { namespace, host } = serverHost(written, gateway.metadata.namespace);
    return (
      (namespace === undefined || namespace === root.metadata.namespace) && hosts.some((one) => hostsMeet(one, host))
    );
  });
}

function bindsTo(match: HttpMatch, use: Pick<GatewayUse, 'name'>, root: VirtualService): boolean {
  const only = texts(match.gateways);
  return only.length === 0 || only.some((one) => gatewayName(one, root.metadata.namespace) === use.name);
}
