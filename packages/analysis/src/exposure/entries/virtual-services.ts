/**
 * Lists the routes that VirtualServices expose through Istio Gateways, with one exposure per route and destination.
 * Source: the VirtualService and Gateway references.
 */

import { createMemo } from '@meshpass/identity';
import {
  fullHost,
  type GatewayServer,
  type HttpMatch,
  type MeshView,
  type StringMatch,
  type VirtualService,
} from '@meshpass/istio';
import { items, record, text, texts } from '@meshpass/istio/members';
import {
  forwardsNothing,
  isCatchAll,
  isRestrictedToSources,
  type VirtualServiceRoute,
  virtualServiceRoutes,
} from '../../routes/http-routes.ts';
import { routeRewrite } from '../../routes/rewrite.ts';
import { coversUri } from '../../routes/text-match.ts';
import { describeObject } from '../describe.ts';
import type { EntryPoint, EntryProxy, Exposure, Identity } from '../exposure.ts';
import { clientPorts, restrictEntryPoint, trustedHops } from '../gateway-pods.ts';
import { patchesAtEntry } from '../identity.ts';
import { uncheckedGateway } from '../internal.ts';
import { mayWidenAccess } from '../patches.ts';
import {
  gatewayName,
  gatewayNames,
  gatewayTables,
  listReachableRoutes,
  type ServedRoute,
  type ServerLocation,
  serverProxy,
} from './gateway-tables.ts';

/** Lists all routes that VirtualServices expose through gateways. */
export function listVirtualServiceExposures(mesh: MeshView): readonly Exposure[] {
  const servers = serversOfRoutes(mesh);
  return mesh.all('VirtualService').flatMap((root) => {
    const entries = createMemo();
    return behindRefusals(virtualServiceRoutes(mesh)(root), root).flatMap(({ route, ...narrowed }) => {
      const through = entriesOf(mesh, root, servers.get(route) ?? [], entries);
      if (through.length === 0) return [];
      return routeExposures(mesh, root, route).map((one) => ({ ...one, ...narrowed, entries: through }));
    });
  });
}

/** Lists the destinations of a route as exposures that have no entry points yet. */
export function routeExposures(mesh: MeshView, root: VirtualService, route: VirtualServiceRoute): readonly Exposure[] {
  const { on, path, protocol, matches, destinations } = route;
  return destinations.flatMap(({ destination, weight = 0, headers }, index): readonly Exposure[] => {
    const host = text(destination?.host);
    // Istio ignores a destination with weight 0 if the route has other destinations.
    if (host === undefined || (weight === 0 && destinations.length > 1)) return [];
    const full = fullHost(host, on.metadata.namespace, mesh.config.clusterDomain);
    return [
      {
        on,
        root,
        path,
        destinationPath: [...path, 'route', index, 'destination', 'host'],
        protocol,
        entries: [],
        hosts: texts(root.spec.hosts),
        matches,
        rewrite: (match) => routeRewrite(route.route ?? {}, match, headers),
        route: route.route,
        destination: { host: full, subset: destination!.subset, port: destination!.port?.number },
        service: mesh.serviceAt(full),
      },
    ];
  });
}

/** Finds the servers through which calls can reach each route. */
function serversOfRoutes(mesh: MeshView): ReadonlyMap<VirtualServiceRoute, readonly ServedRoute[]> {
  const tables = gatewayTables(mesh).flatMap(({ hosts }) => hosts);
  const forwarding = tables.filter(({ redirect }) => !redirect || !alwaysRedirects(mesh, redirect));
  return Map.groupBy(forwarding.flatMap(listReachableRoutes), ({ route }) => route);
}

/** Lists the entry points that correspond to a route's servers, with one entry point per Gateway. */
function entriesOf(
  mesh: MeshView,
  root: VirtualService,
  served: readonly ServedRoute[],
  entries: ReturnType<typeof createMemo>,
): readonly EntryPoint[] {
  return gatewayNames(root).flatMap((name): readonly EntryPoint[] => {
    const there = served.flatMap(({ at }) => (at.name === name ? [at] : []));
    const [at] = there;
    if (!at) return [];
    const all = items(at.gateway?.spec.servers);
    const servers = all.filter((server) => there.some((one) => one.server === server));
    return entries(`${name} ${servers.map((server) => all.indexOf(server))}`, () => {
      const entry = restrictEntryPoint(mesh, withRedirect(toEntryPoint(mesh, at, servers), servers, mesh), [root]);
      return entry ? [entry] : [];
    });
  });
}

/** A route whose matches are narrowed to exclude calls that an earlier route rejects. */
interface Narrowed extends Pick<Exposure, 'matches' | 'unrefused'> {
  readonly route: VirtualServiceRoute;
}

/** The calls that a route rejects because a header or claim is missing. */
interface Refusal {
  readonly uri: HttpMatch['uri'];
  readonly header: string;
  readonly value: StringMatch;
}

/**
 * Adds the header or claim that a call needs to get past earlier routes. Calls that lack it match a route that does not
 * forward anything.
 * Source: https://istio.io/latest/docs/tasks/security/authentication/jwt-route/
 */
function behindRefusals(routes: readonly VirtualServiceRoute[], root: VirtualService): readonly Narrowed[] {
  const refusals: Refusal[] = [];
  const isForAll = ({ gateways }: HttpMatch) => {
    const only = texts(gateways).map((one) => gatewayName(one, root.metadata.namespace));
    return only.length === 0 || gatewayNames(root).every((name) => only.includes(name));
  };
  const narrowed = (match: HttpMatch): HttpMatch => {
    const refusal = refusals.find(({ uri, header }) => isClaim(header) && coversUri(uri, match.uri));
    return refusal ? { ...match, headers: { ...match.headers, [refusal.header]: refusal.value } } : match;
  };
  return routes.map((route): Narrowed => {
    // Non-HTTP connections contain no request, so only the `gateways` field of a match applies to them.
    if (route.protocol !== 'http')
      return { route, matches: route.matches.map(({ gateways }) => (gateways ? { gateways } : {})) };
    const given = route.matches.length > 0 ? route.matches : [{}];
    const matches = refusals.some(({ header }) => isClaim(header)) ? given.map(narrowed) : route.matches;
    const unrefused = refusals.filter(
      ({ uri, header }) => !isClaim(header) && given.some((match) => coversUri(uri, match.uri)),
    );
    if (route.route && forwardsNothing(route.route))
      refusals.push(...route.matches.filter(isForAll).flatMap((match) => refusalOf(match) ?? []));
    const headers = Object.fromEntries(unrefused.map(({ header, value }) => [header, value]));
    return { route, matches, ...(unrefused.length > 0 && { unrefused: headers }) };
  });
}

function refusalOf({ withoutHeaders, uri, ...others }: HttpMatch): Refusal | undefined {
  const absent = Object.entries(withoutHeaders ?? {});
  const [[header, value] = []] = absent;
  const isForAll =
    isCatchAll(others) && !isRestrictedToSources(others) && others.port === undefined && !others.ignoreUriCase;
  if (header === undefined || !isForAll) return undefined;
  const isRead = isClaim(header)
    ? Object.keys(record(value)).length > 0 && absent.every(([name]) => isClaim(name))
    : absent.length === 1;
  return isRead ? { uri, header, value: value ?? {} } : undefined;
}

function isClaim(header: string): boolean {
  return header.startsWith('@request.auth.claims');
}

/**
 * Checks whether a server redirects every call to HTTPS. Even with a redirect, the server forwards calls that a trusted
 * proxy received over TLS, and an EnvoyFilter could remove the redirect.
 */
function alwaysRedirects(mesh: MeshView, at: ServerLocation): boolean {
  const proxy = serverProxy(at);
  return trustedHops(mesh, proxy).every((hops) => hops === 0) && !whyRedirectRemoved(mesh, proxy);
}

function whyRedirectRemoved(mesh: MeshView, proxy: EntryProxy): string | undefined {
  const patch = patchesAtEntry(mesh, proxy).find((one) => mayWidenAccess(one, 'GATEWAY', false));
  return patch && `${describeObject(patch)} changes the gateway's proxy and may remove the redirect to HTTPS`;
}

/** Adds the header that calls need when every server redirects calls that lack it. */
function withRedirect(entry: EntryPoint, servers: readonly GatewayServer[], mesh: MeshView): EntryPoint {
  const { proxy, own } = entry;
  if (proxy.by !== 'istio' || servers.length === 0 || !servers.every(({ tls }) => tls?.httpsRedirect)) return entry;
  if (trustedHops(mesh, proxy).some((hops) => hops > 0)) return { ...entry, headers: { 'x-forwarded-proto': 'https' } };
  const reason = whyRedirectRemoved(mesh, proxy);
  return reason === undefined || own.state !== 'none' ? entry : { ...entry, own: { state: 'unknown', reason } };
}

/**
 * Creates the entry point for the given servers of a Gateway. Its `object` is undefined if the Gateway is not in the
 * files.
 */
export function toEntryPoint(mesh: MeshView, at: ServerLocation, servers: readonly GatewayServer[]): EntryPoint {
  const proxy = serverProxy(at);
  return {
    kind: 'Gateway',
    name: at.name,
    object: at.gateway,
    ports: servers.flatMap(({ port }) => {
      const { number, protocol } = port ?? {};
      const reached = number === undefined ? [undefined] : clientPorts(mesh, proxy, number);
      return reached.map((one) => ({ number: one, protocol }));
    }),
    proxy,
    ...uncheckedGateway(mesh, proxy, 'the gateway requires no client certificate'),
    ...(servers.length > 0 && servers.every(requiresCertificate) && { own: CERTIFICATE }),
  };
}

const CERTIFICATE: Identity = { state: 'required', reason: 'the gateway requires a client certificate' };

function requiresCertificate({ tls }: GatewayServer): boolean {
  return tls?.mode === 'MUTUAL' || tls?.mode === 'ISTIO_MUTUAL';
}
