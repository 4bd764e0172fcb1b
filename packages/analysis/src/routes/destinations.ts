/**
 * Destinations that a VirtualService routes a sidecar's calls to, as istiod translates it for sidecars
 * (pilot/pkg/networking/core/route).
 */

import type { Destination, HttpRoute, L4Match, MeshView, Path, VirtualService } from '@meshpass/istio';
import { type HttpRouteAt, httpRoutes, isCatchAll } from './http-routes.ts';

/** Call from a sidecar of which only the namespace is known. */
export interface Called {
  /** Namespace of the caller. */
  readonly from: string;
  readonly host: string;
  readonly port: number | undefined;
  readonly protocol: 'http' | 'tcp';
}

interface RoutedTo {
  /** VirtualService with the route: a delegate, or the root itself. */
  readonly on: VirtualService;
  /** Path of the destination's host. */
  readonly path: Path;
  /** Host as written. */
  readonly host: string;
  readonly port: number | undefined;
  readonly mirrored: boolean;
}

/**
 * Lists all destinations that this VirtualService may route the call to, up to the first route that matches all
 * remaining calls.
 */
export function destinationsOf(root: VirtualService, called: Called, mesh: MeshView): readonly RoutedTo[] {
  if (called.protocol === 'http') return routesOf(root, called, mesh).flatMap(ofHttp);
  return (['tls', 'tcp'] as const).flatMap((kind) => {
    const routes: NonNullable<VirtualService['spec']['tcp']> = root.spec[kind] ?? [];
    const index = routes.findIndex(({ match = [] }) => match.length === 0 || match.some((one) => mayMeet(one, called)));
    return index < 0 ? [] : ofL4(root, ['spec', kind, index], routes[index]!.route);
  });
}

/** Lists the routes that the call may take. */
function routesOf(root: VirtualService, called: Called, mesh: MeshView): readonly HttpRouteAt[] {
  const found: HttpRouteAt[] = [];
  for (const at of httpRoutes(mesh, root)) {
    const met = at.matches.filter((one) => mayMeet(one, called));
    if (at.matches.length > 0 && met.length === 0) continue;
    found.push(at);
    if (at.matches.length === 0 || met.some(isCatchAll)) break;
  }
  return found;
}

function ofHttp({ on, path: at, route, mirrors }: HttpRouteAt): readonly RoutedTo[] {
  if (route.redirect || route.directResponse) return [];
  return [
    ...ofL4(on, at, route.route),
    ...mirrors.flatMap((one) => toDestination(one.on, one.destination, one.path, true)),
  ];
}

function ofL4(on: VirtualService, at: Path, route: HttpRoute['route'] = []): readonly RoutedTo[] {
  const several = route.length > 1;
  return route.flatMap(({ destination, weight = 0 }, nth) =>
    // Istio drops destinations with weight 0 if there are others.
    several && weight === 0 ? [] : toDestination(on, destination, [...at, 'route', nth, 'destination'], false),
  );
}

function toDestination(
  on: VirtualService,
  { host, port }: Destination = {},
  path: Path,
  mirrored: boolean,
): readonly RoutedTo[] {
  return host === undefined ? [] : [{ on, path: [...path, 'host'], host, port: port?.number, mirrored }];
}

/** Whether some call of this kind may match. Callers here lack any labels that a route could require. */
function mayMeet({ gateways = [], port, sourceNamespace, sourceLabels = {} }: L4Match, called: Called): boolean {
  if (gateways.length > 0 && !gateways.includes('mesh')) return false;
  if (port !== undefined && called.port !== undefined && port !== called.port) return false;
  if (sourceNamespace !== undefined && sourceNamespace !== '' && sourceNamespace !== called.from) return false;
  return Object.keys(sourceLabels).length === 0;
}
