/**
 * Finds the destinations to which a VirtualService routes a sidecar's calls, as istiod translates it for sidecars
 * (pilot/pkg/networking/core/route).
 */

import type { Destination, L4Match, MeshView, Path, VirtualService } from '@meshpass/istio';
import { items } from '@meshpass/istio/members';
import { isCatchAll, type VirtualServiceRoute, virtualServiceRoutes } from './http-routes.ts';

/** A call from a sidecar. Nothing is known about the caller except its namespace. */
export interface SidecarCall {
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
