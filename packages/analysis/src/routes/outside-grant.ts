/**
 * Finds VirtualServices that route calls for a granted host to a service outside the grant. istiod sends these routes
 * to the grant's workspaces just as it does to other sidecars, so the other service rejects the workspaces' calls.
 * Routes are read as istiod translates them for sidecars (pilot/pkg/networking/core/route).
 */

import {
  coversHost,
  type Destination,
  fullHost,
  isExportedTo,
  type L4Match,
  type MeshView,
  type Path,
  type Place,
  type VirtualService,
} from '@meshpass/istio';
import { items, listed, texts } from '@meshpass/istio/members';
import { isCatchAll, type VirtualServiceRoute, virtualServiceRoutes } from './http-routes.ts';

/** The ports that a grant covers. If a port number is missing, it is unknown and could be any port. */
export interface GrantReach {
  readonly grant: string;
  /** The namespace of the grant's workspaces, `meshpass-GRANT`. */
  readonly namespace: string;
  readonly place: Place;
  readonly ports: readonly Omit<SidecarCall, 'from'>[];
}

export interface RouteOutsideGrant {
  readonly on: VirtualService;
  readonly path: Path;
  readonly grant: GrantReach;
  /** The granted ports whose calls match the route, such as `orders.shop.svc.cluster.local:8080`. */
  readonly called: readonly string[];
  readonly to: string;
  /** The effect on calls from a workspace that match the route. */
  readonly does: 'refused' | 'closed' | 'not mirrored';
}

/**
 * Lists the routes that lead outside their grant, in the order of the grants. Each destination is only listed once per
 * grant.
 */
export function findRoutesOutsideGrants(mesh: MeshView, grants: readonly GrantReach[]): readonly RouteOutsideGrant[] {
  const governing = governingRoutes(mesh);
  return grants.flatMap((grant) => {
    const found = new Map<string, RouteOutsideGrant & { readonly called: string[] }>();
    for (const port of grant.ports) {
      for (const root of governing(port.host, grant.namespace)) {
        for (const { on, path, mirrored, ...to } of possibleDestinations(
          root,
          { ...port, from: grant.namespace },
          mesh,
        )) {
          const host = fullHost(to.host, on.metadata.namespace, mesh.config.clusterDomain);
          const number = to.port ?? (port.protocol === 'tcp' ? onlyPort(mesh, host) : undefined) ?? port.port;
          if (holds(grant, host, number)) continue;
          const key = JSON.stringify([on.metadata.namespace, on.metadata.name, path, number]);
          const called = withPort(port.host, port.port);
          const known = found.get(key);
          if (known) known.called.push(called);
          else {
            const does = mirrored ? 'not mirrored' : port.protocol === 'http' ? 'refused' : 'closed';
            found.set(key, { on, path, grant, called: [called], to: withPort(host, number), does });
          }
        }
      }
    }
    return [...found.values()];
  });
}

/**
 * Creates a function that returns the VirtualServices that apply to a host for sidecars in a namespace. Only those with
 * the most specific matching host are returned, because istiod ignores all others.
 */
function governingRoutes(mesh: MeshView): (host: string, namespace: string) => readonly VirtualService[] {
  const exact = new Map<string, VirtualService[]>();
  const wild: { readonly name: string; readonly on: VirtualService }[] = [];
  for (const on of mesh.all('VirtualService')) {
    const gateways = texts(on.spec.gateways);
    if (gateways.length > 0 && !gateways.includes('mesh')) continue;
    for (const written of new Set(texts(on.spec.hosts))) {
      const name = fullHost(written, on.metadata.namespace, mesh.config.clusterDomain).toLowerCase();
      if (name.startsWith('*')) wild.push({ name, on });
      else exact.set(name, [...(exact.get(name) ?? []), on]);
    }
  }
  wild.sort((a, b) => b.name.length - a.name.length);
  return (host, namespace) => {
    const named = (exact.get(host) ?? []).filter((on) => isExportedTo(on, namespace, mesh.config));
    if (named.length > 0) return named;
    const covering = wild.filter(({ name, on }) => coversHost(name, host) && isExportedTo(on, namespace, mesh.config));
    return covering.filter(({ name }) => name === covering[0]?.name).map(({ on }) => on);
  };
}

function holds({ ports }: GrantReach, host: string, port: number | undefined): boolean {
  return ports.some((one) => one.host === host && (one.port === undefined || port === undefined || one.port === port));
}

/**
 * Returns the port of a destination that does not specify one. For connections, istiod uses the destination's only
 * port. For requests, it searches the services with the called port and uses that port
 * (buildSidecarOutboundHTTPRouteConfig).
 */
function onlyPort(mesh: MeshView, host: string): number | undefined {
  const ports = mesh.serviceAt(host)?.spec.ports ?? [];
  return ports.length === 1 ? ports[0]!.port : undefined;
}

function withPort(host: string, port: number | undefined): string {
  return port === undefined ? host : `${host}:${port}`;
}

/**
 * Describes the route, for example `calls to orders.shop... go to ledger.shop..., which is outside grant dev
 * (access.yaml:12): ...`. The text does not end with a period.
 */
export function describeRouteOutside({ grant, called, to, does }: RouteOutsideGrant): string {
  const { file, line } = grant.place;
  const which = `${to}, which is outside grant ${grant.grant} (${file}:${line})`;
  const from = listed(called);
  switch (does) {
    case 'not mirrored':
      return `calls to ${from} are mirrored to ${which}: calls from a Codespace are not mirrored`;
    case 'closed':
      return `connections to ${from} go to ${which}: connections from a Codespace are refused`;
    case 'refused':
      return `calls to ${from} go to ${which}: a Codespace on this route is refused with agent_route_not_granted`;
  }
}

/** A call from a sidecar. Nothing is known about the caller except its namespace. */
interface SidecarCall {
  /** The namespace of the caller. */
  readonly from: string;
  readonly host: string;
  readonly port: number | undefined;
  readonly protocol: 'http' | 'tcp';
}

interface RoutedTo {
  /** The VirtualService that contains the route, which is either the root itself or a delegate. */
  readonly on: VirtualService;
  /** The path to the destination's host. */
  readonly path: Path;
  /** The host as written in the route. */
  readonly host: string;
  readonly port: number | undefined;
  readonly mirrored: boolean;
}

/**
 * Lists the destinations to which a VirtualService could route the call. Routes after a catch-all route are ignored.
 */
export function possibleDestinations(root: VirtualService, called: SidecarCall, mesh: MeshView): readonly RoutedTo[] {
  const kinds = called.protocol === 'http' ? (['http'] as const) : (['tls', 'tcp'] as const);
  return kinds.flatMap((kind) =>
    takenRoutes(
      virtualServiceRoutes(mesh)(root).filter(({ protocol }) => protocol === kind),
      called,
    ).flatMap(destinationsAt),
  );
}

/** Lists the routes that could match the call. For non-HTTP connections, only the first match applies. */
function takenRoutes(routes: readonly VirtualServiceRoute[], called: SidecarCall): readonly VirtualServiceRoute[] {
  const found: VirtualServiceRoute[] = [];
  for (const at of routes) {
    const met = at.matches.filter((one) => mayMeet(one, called));
    if (at.matches.length > 0 && met.length === 0) continue;
    found.push(at);
    if (at.protocol !== 'http' || at.matches.length === 0 || met.some(isCatchAll)) break;
  }
  return found;
}

function destinationsAt({
  on,
  path: at,
  route,
  destinations: given,
  mirrors,
}: VirtualServiceRoute): readonly RoutedTo[] {
  if (route?.redirect || route?.directResponse) return [];
  const weighted = route ? items(route.route) : given;
  const destinations = weighted.flatMap(({ destination, weight = 0 }, nth) =>
    // Istio ignores a destination with weight 0 if the route has other destinations.
    weighted.length > 1 && weight === 0
      ? []
      : toDestination(on, destination, [...at, 'route', nth, 'destination'], false),
  );
  return [...destinations, ...mirrors.flatMap((one) => toDestination(one.on, one.destination, one.path, true))];
}

function toDestination(
  on: VirtualService,
  { host, port }: Destination = {},
  path: Path,
  mirrored: boolean,
): readonly RoutedTo[] {
  return host === undefined ? [] : [{ on, path: [...path, 'host'], host, port: port?.number, mirrored }];
}

/**
 * Checks whether a match could apply to the call. Callers are assumed to have none of the labels that a route can
 * require.
 */
function mayMeet({ gateways = [], port, sourceNamespace, sourceLabels = {} }: L4Match, called: SidecarCall): boolean {
  if (gateways.length > 0 && !gateways.includes('mesh')) return false;
  if (port !== undefined && called.port !== undefined && port !== called.port) return false;
  if (sourceNamespace !== undefined && sourceNamespace !== '' && sourceNamespace !== called.from) return false;
  return Object.keys(sourceLabels).length === 0;
}
