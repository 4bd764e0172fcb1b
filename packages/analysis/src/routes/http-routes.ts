/**
 * Lists the routes of VirtualServices, with those of their delegates, as istiod translates them for gateways and
 * sidecars. Sources: `BuildHTTPRoutesForVirtualService` and `IsCatchAllRoute` in
 * pilot/pkg/networking/core/route/route.go, and `MergeHTTPRoutes` in pilot/pkg/model/virtualservice.go.
 */
import { memoize } from '@meshpass/identity';
import {
  type Destination,
  type HttpMatch,
  type HttpRoute,
  isExportedTo,
  type MeshView,
  type Path,
  type StringMatch,
  type Texts,
  type VirtualService,
  type WeightedDestination,
} from '@meshpass/istio';
import { items, labels, record, texts } from '@meshpass/istio/members';

/** A route of a VirtualService, or of its delegate. */
export interface VirtualServiceRoute {
  readonly on: VirtualService;
  readonly path: Path;
  readonly protocol: 'http' | 'tls' | 'tcp';
  /**
   * The matches of the route, of which a call must satisfy at least one. Empty if every call matches. Matches of TLS
   * connections may be limited to certain server names.
   */
  readonly matches: readonly (HttpMatch & { readonly sniHosts?: Texts })[];
  /** The HTTP route as written. Undefined for non-HTTP connections. */
  readonly route: HttpRoute | undefined;
  readonly destinations: readonly WeightedDestination[];
  /** The mirror destinations, each with the object that defines it. A delegate inherits the mirrors of its root. */
  readonly mirrors: readonly {
    readonly on: VirtualService;
    readonly destination: Destination | undefined;
    readonly path: Path;
  }[];
}

/** Lists the routes of a VirtualService for HTTP, for TLS (selected by server name) and for TCP. */
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
 * Returns the HTTP routes of a VirtualService in order, replacing each delegation with the delegate's routes. If the
 * proxy itself responds to the calls of a route, that route has no destinations.
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
 * Lists the mirrors of a route.
 * @param at the path to the route
 */
export function mirrorsOf({ mirror, mirrors = [] }: Mirroring, at: Path) {
  return [
    { destination: mirror, path: [...at, 'mirror'] },
    ...mirrors.map(({ destination }, nth) => ({ destination, path: [...at, 'mirrors', nth, 'destination'] })),
  ];
}

/**
 * Checks whether a match accepts every call at the proxies that it applies to, so that istiod drops all routes after
 * it. Ports, gateways and callers are not compared here, because they only determine whether the match applies at all
 * (see `isRestrictedToSources`).
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

/**
 * Checks whether a match only applies to calls from certain proxies. If `gateways` is set, istiod ignores the other
 * fields.
 */
export function isRestrictedToSources({ gateways, sourceLabels, sourceNamespace }: HttpMatch): boolean {
  return texts(gateways).length === 0 && (Object.keys(labels(sourceLabels)).length > 0 || Boolean(sourceNamespace));
}

/**
 * Checks whether a route forwards no calls because it redirects, answers or aborts all of them. A fault without a
 * percentage aborts no calls. Source: `HTTPRoute` and `HTTPFaultInjection` in the VirtualService reference.
 */
export function forwardsNothing(route: HttpRoute): boolean {
  if (route.delegate) return false;
  if (route.redirect || route.directResponse || items(route.route).length === 0) return true;
  const abort = record(record(route.fault).abort);
  return Number(record(abort.percentage).value) >= 100;
}

const delegatesIn = memoize(
  (mesh: MeshView): ReadonlyMap<string, VirtualService> =>
    new Map(mesh.all('VirtualService').map((one) => [`${one.metadata.namespace}/${one.metadata.name}`, one])),
);

/**
 * Returns the delegate of a route if the root may use it. A delegate must have no hosts, and it must be exported to the
 * root's namespace.
 */
function delegateOf(
  mesh: MeshView,
  { metadata: { namespace } }: VirtualService,
  { delegate }: HttpRoute,
): VirtualService | undefined {
  const found = delegatesIn(mesh).get(`${delegate?.namespace || namespace}/${delegate?.name}`);
  return found && texts(found.spec.hosts).length === 0 && isExportedTo(found, namespace, mesh.config)
    ? found
    : undefined;
}

/**
 * Merges a delegate's route with the root's route. Returns undefined if their matches conflict, because Istio drops
 * such routes.
 */
function mergeRoute(root: HttpRoute, own: HttpRoute): HttpRoute | undefined {
  const match = mergeMatches(items(root.match), items(own.match));
  if (!match) return undefined;
  const { delegate: _delegate, redirect: _redirect, route: _route, ...inherited } = root;
  const given = Object.fromEntries(Object.entries(own).filter(([, value]) => value !== undefined));
  return { ...inherited, ...given, match };
}

function mergeMatches(root: readonly HttpMatch[], own: readonly HttpMatch[]): readonly HttpMatch[] | undefined {
  if (root.length === 0) return own;
  if (own.length === 0) return root;
  const merged = own.map((inner) => root.flatMap((outer) => (conflict(outer, inner) ? [] : [merge(outer, inner)])));
  return merged.every((some) => some.length > 0) ? merged.flat() : undefined;
}

function merge(outer: HttpMatch, inner: HttpMatch): HttpMatch {
  return {
    ...outer,
    ...inner,
    ...mergedMembers(outer, inner),
    ...(texts(inner.gateways).length === 0 && outer.gateways && { gateways: outer.gateways }),
  };
}

const MAPS = ['headers', 'withoutHeaders', 'queryParams', 'sourceLabels'] as const;

function mergedMembers(outer: HttpMatch, inner: HttpMatch): Partial<HttpMatch> {
  return Object.fromEntries(
    MAPS.flatMap((name) => (outer[name] || inner[name] ? [[name, { ...outer[name], ...inner[name] }]] : [])),
  );
}

function conflict(outer: HttpMatch, inner: HttpMatch): boolean {
  return (
    (['uri', 'scheme', 'method', 'authority'] as const).some((name) => differ(outer[name], inner[name])) ||
    (['headers', 'withoutHeaders', 'queryParams'] as const).some((name) =>
      Object.entries(record<StringMatch>(inner[name])).some(([key, value]) => differ(outer[name]?.[key], value)),
    ) ||
    Boolean(outer.ignoreUriCase) !== Boolean(inner.ignoreUriCase) ||
    Boolean(outer.port && inner.port && outer.port !== inner.port) ||
    Boolean(outer.sourceNamespace && outer.sourceNamespace !== inner.sourceNamespace) ||
    Object.entries(inner.sourceLabels ?? {}).some(([key, value]) => (outer.sourceLabels?.[key] ?? value) !== value) ||
    isWider(texts(outer.gateways), texts(inner.gateways))
  );
}

function isWider(outer: readonly string[], inner: readonly string[]): boolean {
  if (outer.length === 0) return false;
  return outer.length < inner.length || inner.some((one) => !outer.includes(one));
}

/**
 * Checks whether the delegate's text match allows more than the root's. Regular expressions are always assumed to allow
 * more.
 */
function differ(outer: StringMatch | undefined, inner: StringMatch | undefined): boolean {
  if (!outer || !inner) return false;
  if (outer.regex || inner.regex) return true;
  if (outer.exact) return inner.exact !== outer.exact;
  const narrower = inner.prefix || inner.exact;
  return !outer.prefix || !narrower?.startsWith(outer.prefix);
}
