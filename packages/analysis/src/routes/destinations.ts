/** Where a VirtualService sends what a sidecar calls: as istiod's translation for sidecars reads it (pilot/pkg/networking/core/route). */

import type { HttpMatch, HttpRoute, L4Match, MeshView, Path, VirtualService } from '@meshpass/istio';
import { items, record, text, texts } from '@meshpass/istio/members';

/** A sidecar of whom nothing but its namespace is known, and what it calls. */
export interface Called {
  /** Of the caller. */
  readonly from: string;
  readonly host: string;
  readonly port: number | undefined;
  readonly protocol: 'http' | 'tcp';
}

export interface RoutedTo {
  /** The VirtualService that holds the route: a delegate, or the root itself. */
  readonly on: VirtualService;
  /** Of the destination's host. */
  readonly path: Path;
  /** As written. */
  readonly host: string;
  readonly port: number | undefined;
  readonly mirrored: boolean;
}

/** Every destination that the call may have by this VirtualService, up to the first route that takes whatever is left. */
export function destinationsOf(root: VirtualService, called: Called, mesh: MeshView): readonly RoutedTo[] {
  if (called.protocol === 'http') return routesOf(root, called).flatMap((at) => ofRoute(root, at, called, mesh));
  const [tls, tcp] = (['tls', 'tcp'] as const).map((kind) => {
    const index = items<{ readonly match?: readonly L4Match[] }>(root.spec[kind]).findIndex(({ match }) => {
      const matches = items(match as readonly (L4Match & { readonly sniHosts?: readonly string[] })[]);
      return matches.length === 0 || matches.some((one) => mayMeet(one, called));
    });
    return index < 0 ? [] : ofL4(root, ['spec', kind, index], items(root.spec[kind])[index]!.route);
  }) as [RoutedTo[], RoutedTo[]];
  return [...tls, ...tcp];
}

interface RouteAt {
  readonly route: HttpRoute;
  readonly index: number;
}

function routesOf({ spec }: VirtualService, called: Called): readonly RouteAt[] {
  const found: RouteAt[] = [];
  for (const [index, route] of items(spec.http).entries()) {
    const matches = items(route.match);
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

/** A delegate has no hosts, and the root's namespace sees it. */
function delegateOf(root: VirtualService, { delegate }: HttpRoute, mesh: MeshView): VirtualService | undefined {
  const namespace = delegate?.namespace || root.metadata.namespace;
  const found = mesh.within('VirtualService', namespace).find(({ metadata }) => metadata.name === delegate?.name);
  if (!found || texts(found.spec.hosts).length > 0) return undefined;
  return isExportedTo(found, root.metadata.namespace) ? found : undefined;
}

/** Without `exportTo` it is exported everywhere. */
export function isExportedTo({ metadata, spec }: VirtualService, namespace: string): boolean {
  const exported = texts(spec.exportTo);
  if (exported.length === 0) return true;
  return exported.some((one) => one === '*' || (one === '.' ? metadata.namespace : one) === namespace);
}

function ofHttp(on: VirtualService, index: number, route: HttpRoute): readonly RoutedTo[] {
  if (route.redirect || route.directResponse) return [];
  const at: Path = ['spec', 'http', index];
  const mirrors = [
    { destination: route.mirror, path: [...at, 'mirror'] },
    ...items(route.mirrors).map(({ destination }, nth) => ({
      ...{ destination, path: [...at, 'mirrors', nth, 'destination'] },
    })),
  ];
  return [
    ...ofL4(on, at, route.route),
    ...mirrors.flatMap(({ destination, path }) => toDestination(on, destination, path, true)),
  ];
}

function ofL4(on: VirtualService, at: Path, route: HttpRoute['route']): RoutedTo[] {
  const several = items(route).length > 1;
  return items(route).flatMap(({ destination, weight = 0 }, nth) =>
    // Istio leaves those of weight 0 out where there are others.
    several && weight === 0 ? [] : toDestination(on, destination, [...at, 'route', nth, 'destination'], false),
  );
}

function toDestination(on: VirtualService, destination: unknown, path: Path, mirrored: boolean): readonly RoutedTo[] {
  const { host: written, port } = record(destination);
  const host = text(written);
  const number = record(port).number;
  if (host === undefined) return [];
  return [{ on, path: [...path, 'host'], host, port: typeof number === 'number' ? number : undefined, mirrored }];
}

type Match = Partial<HttpMatch & L4Match> & { readonly sniHosts?: readonly string[] };

/** Whether some call of this kind may meet a match. Callers here have no labels that a route could ask for. */
function mayMeet({ gateways, port, sourceNamespace, sourceLabels }: Match, called: Called): boolean {
  const bound = texts(gateways);
  if (bound.length > 0 && !bound.includes('mesh')) return false;
  if (port !== undefined && called.port !== undefined && port !== called.port) return false;
  if (sourceNamespace !== undefined && sourceNamespace !== '' && sourceNamespace !== called.from) return false;
  return Object.keys(record(sourceLabels)).length === 0;
}

/** What has been looked at already: whoever comes meets it. */
const ANY_CALL = new Set(['name', 'statPrefix', 'gateways', 'port', 'sourceNamespace', 'sourceLabels']);

function takesAll(match: HttpMatch): boolean {
  return Object.entries(match).every(([member, value]) => {
    const prefix = member === 'uri' ? text(record(value).prefix) : undefined;
    return ANY_CALL.has(member) || prefix === '/';
  });
}
