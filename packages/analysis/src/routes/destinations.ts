/**
 * Destinations that a VirtualService routes a sidecar's calls to, as istiod translates it for sidecars
 * (pilot/pkg/networking/core/route).
 */

import {
  type Destination,
  type HttpMatch,
  type HttpRoute,
  isExportedTo,
  type L4Match,
  type MeshView,
  type Path,
  type VirtualService,
} from '@meshpass/istio';

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
  if (called.protocol === 'http') return routesOf(root, called).flatMap((at) => ofRoute(root, at, called, mesh));
  return (['tls', 'tcp'] as const).flatMap((kind) => {
    const routes: NonNullable<VirtualService['spec']['tcp']> = root.spec[kind] ?? [];
    const index = routes.findIndex(({ match = [] }) => match.length === 0 || match.some((one) => mayMeet(one, called)));
    return index < 0 ? [] : ofL4(root, ['spec', kind, index], routes[index]!.route);
  });
}

interface RouteAt {
  readonly route: HttpRoute;
  readonly index: number;
}

function routesOf({ spec }: VirtualService, called: Called): readonly RouteAt[] {
  const found: RouteAt[] = [];
  for (const [index, route] of (spec.http ?? []).entries()) {
    const matches = route.match ?? [];
    const met = matches.filter((one) => mayMeet(one, called));
    if (matches.length > 0 && met.length === 0) continue;
    found.push({ route, index });
    if (!route.delegate && (matches.length === 0 || met.some(takesAll))) break;
  }
  return found;
}

function ofRoute(root: VirtualService, { route, index }: RouteAt, called: Called, mesh: MeshView): readonly RoutedTo[] {
  if (!route.delegate) return ofHttp(root, index, route);
  const delegate = delegateOf(root, route, mesh);
  if (!delegate) return [];
  return routesOf(delegate, called).flatMap((at) => (at.route.delegate ? [] : ofHttp(delegate, at.index, at.route)));
}

/** Returns the delegate. It must have no hosts and be exported to the root's namespace. */
function delegateOf(root: VirtualService, { delegate }: HttpRoute, mesh: MeshView): VirtualService | undefined {
  const namespace = delegate?.namespace || root.metadata.namespace;
  const found = mesh.within('VirtualService', namespace).find(({ metadata }) => metadata.name === delegate?.name);
  if (!found || found.spec.hosts?.length) return undefined;
  return isExportedTo(found, root.metadata.namespace, mesh.config) ? found : undefined;
}

function ofHttp(on: VirtualService, index: number, route: HttpRoute): readonly RoutedTo[] {
  if (route.redirect || route.directResponse) return [];
  const at: Path = ['spec', 'http', index];
  return [
    ...ofL4(on, at, route.route),
    ...mirrorsOf(route, at).flatMap(({ destination, path }) => toDestination(on, destination, path, true)),
  ];
}

/**
 * Lists the mirrors of a route.
 * @param at path of the route
 */
export function mirrorsOf({ mirror, mirrors = [] }: HttpRoute, at: Path) {
  return [
    { destination: mirror, path: [...at, 'mirror'] },
    ...mirrors.map(({ destination }, nth) => ({ destination, path: [...at, 'mirrors', nth, 'destination'] })),
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

/** Match fields that were already evaluated and therefore match every remaining call. */
const ANY_CALL = new Set(['name', 'statPrefix', 'gateways', 'port', 'sourceNamespace', 'sourceLabels']);

function takesAll(match: HttpMatch): boolean {
  return Object.keys(match).every((member) => ANY_CALL.has(member) || (member === 'uri' && match.uri?.prefix === '/'));
}
