/**
 * VirtualService routes as istiod translates them for gateways and sidecars. Source:
 * `BuildHTTPRoutesForVirtualService` and `IsCatchAllRoute` in pilot/pkg/networking/core/route/route.go.
 */
import { memoize } from '@meshpass/identity/memory/memoize';
import type {
  Destination,
  HttpMatch,
  HttpRoute,
  MeshView,
  Path,
  Texts,
  VirtualService,
  WeightedDestination,
} from '@meshpass/istio';
import { items, labels, record, texts } from '@meshpass/istio/members';
import { delegateOf, mergeRoute } from './delegates.ts';

/** Route of a VirtualService or of its delegate. */
export interface VirtualServiceRoute {
  readonly on: VirtualService;
  readonly path: Path;
  readonly protocol: 'http' | 'tls' | 'tcp';
  /** Alternative matches. Empty if every call matches. Matches for TLS connections may be limited to server names. */
  readonly matches: readonly (HttpMatch & { readonly sniHosts?: Texts })[];
  /** Undefined for non-HTTP connections. */
  readonly route: HttpRoute | undefined;
  readonly destinations: readonly WeightedDestination[];
  /** Mirror destinations, with the object that defines them, because a delegate inherits the root's mirrors. */
  readonly mirrors: readonly {
    readonly on: VirtualService;
    readonly destination: Destination | undefined;
    readonly path: Path;
  }[];
}

/** Lists a VirtualService's routes for HTTP, TLS (by server name) and TCP. */
export const virtualServiceRoutes = memoize((mesh: MeshView) =>
  memoize((root: VirtualService): readonly VirtualServiceRoute[] => [
    ...httpRoutes(mesh, root),
    ...(['tls', 'tcp'] as const).flatMap((protocol) =>
      items(root.spec[protocol]).map(({ match, route }, index) => ({
        on: root,
        path: ['spec', protocol, index],
        protocol,
        matches: items(match),
        route: undefined,
        destinations: items(route),
        mirrors: [],
      })),
    ),
  ]),
);

/**
 * Returns a VirtualService's HTTP routes in order, with each delegation replaced by the delegate's routes. A route for
 * which the proxy responds itself has no destinations.
 */
function httpRoutes(mesh: MeshView, root: VirtualService): readonly VirtualServiceRoute[] {
  const at = (on: VirtualService, index: number, route: HttpRoute) => ({
    on,
    path: ['spec', 'http', index],
    protocol: 'http' as const,
    matches: items(route.match),
    route,
    destinations: forwardsNothing(route) ? [] : items(route.route),
  });
  const mirrorsAt = (on: VirtualService, index: number, route: Mirroring) =>
    mirrorsOf(route, ['spec', 'http', index]).map((one) => ({ ...one, on }));
  return items(root.spec.http).flatMap((route, index): readonly VirtualServiceRoute[] => {
    if (!route.delegate) return [{ ...at(root, index, route), mirrors: mirrorsAt(root, index, route) }];
    const delegate = delegateOf(mesh, root, route);
    return items(delegate?.spec.http).flatMap((part, inner) => {
      const merged = mergeRoute(route, part);
      if (!merged) return [];
      const inherited: Mirroring = {
        ...(!part.mirror && { mirror: route.mirror }),
        ...(!part.mirrors && { mirrors: route.mirrors }),
      };
      const mirrors = [...mirrorsAt(delegate!, inner, part), ...mirrorsAt(root, index, inherited)];
      return [{ ...at(delegate!, inner, merged), mirrors }];
    });
  });
}

type Mirroring = { readonly [Member in 'mirror' | 'mirrors']?: HttpRoute[Member] | undefined };

/**
 * Lists a route's mirrors.
 * @param at path to the route
 */
export function mirrorsOf({ mirror, mirrors = [] }: Mirroring, at: Path) {
  return [
    { destination: mirror, path: [...at, 'mirror'] },
    ...mirrors.map(({ destination }, nth) => ({ destination, path: [...at, 'mirrors', nth, 'destination'] })),
  ];
}

/**
 * Whether a match accepts every call at the proxies it applies to, so that istiod drops all later routes. Port,
 * gateways and callers only determine whether the match applies (see `isRestrictedToSources`).
 */
export function isCatchAll(match: HttpMatch): boolean {
  const { uri, method, authority, scheme, headers, withoutHeaders, queryParams } = match;
  const { exact, prefix, regex } = record(uri);
  const isEveryPath = prefix === '/' || regex === '.*' || [exact, prefix, regex].every((one) => one === undefined);
  return (
    isEveryPath &&
    [method, authority, scheme].every((one) => (one ?? undefined) === undefined) &&
    [headers, withoutHeaders, queryParams].every((one) => Object.keys(record(one)).length === 0)
  );
}

/** Whether a match only applies to calls from some proxies. istiod ignores these fields if `gateways` is set. */
export function isRestrictedToSources({ gateways, sourceLabels, sourceNamespace }: HttpMatch): boolean {
  return texts(gateways).length === 0 && (Object.keys(labels(sourceLabels)).length > 0 || Boolean(sourceNamespace));
}

/**
 * Whether a route does not forward any calls, because it redirects, responds to or aborts all of them. A fault without
 * a percentage does not abort any. Source: `HTTPRoute` and `HTTPFaultInjection` in the VirtualService reference.
 */
export function forwardsNothing(route: HttpRoute): boolean {
  if (route.delegate) return false;
  if (route.redirect || route.directResponse || items(route.route).length === 0) return true;
  const abort = record(record(route.fault).abort);
  return Number(record(abort.percentage).value) >= 100;
}
