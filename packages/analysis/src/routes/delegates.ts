/**
 * Merges the routes of a delegate with the root route that delegates to it. Source: `MergeHTTPRoutes` in
 * pilot/pkg/model/virtualservice.go.
 */
import { memoize } from '@meshpass/identity/memory/memoize';
import {
  type HttpMatch,
  type HttpRoute,
  isExportedTo,
  type MeshView,
  type StringMatch,
  type VirtualService,
} from '@meshpass/istio';
import { items, record, texts } from '@meshpass/istio/members';

const delegatesIn = memoize(
  (mesh: MeshView): ReadonlyMap<string, VirtualService> =>
    new Map(mesh.all('VirtualService').map((one) => [`${one.metadata.namespace}/${one.metadata.name}`, one])),
);

/**
 * Returns the delegate of a route if the root may use it. A delegate must have no hosts, and it must be exported to the
 * root's namespace.
 */
export function delegateOf(
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
export function mergeRoute(root: HttpRoute, own: HttpRoute): HttpRoute | undefined {
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
