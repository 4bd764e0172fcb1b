/** Changes that a route makes to a request before the workload sees it. */
import type { HttpMatch, HttpRoute, RouteFilter } from '@meshpass/istio';
import { items, record, text, texts } from '@meshpass/istio/members';

/** Replacement for the whole path or for the prefix that the route matches. The query string is kept. */
export type PathRewrite =
  | { readonly whole: true; readonly by: string }
  | {
      readonly whole: false;
      readonly prefix: string;
      readonly ignoreCase: boolean;
      readonly by: string;
      /** Whether the prefix matches whole segments, so that the rest is empty or starts with `/`. */
      readonly segments: boolean;
    };

export interface HeaderChange {
  /** Lowercase header name. */
  readonly name: string;
  /** `compute`: the value is only known at request time. */
  readonly change: 'set' | 'add' | 'remove' | 'compute';
  readonly value: string;
}

export interface Rewrite {
  readonly path?: PathRewrite | 'unknown';
  /** New host, with a port if it has one. */
  readonly host?: string;
  /** Header changes in the order in which they are applied. */
  readonly headers: readonly HeaderChange[];
}

export const NO_REWRITE: Rewrite = { headers: [] };

/**
 * Parses the changes that a VirtualService route makes. Source: `TranslateRoute` in
 * pilot/pkg/networking/core/route/route.go.
 * @param match match of the call, which determines the prefix to replace
 * @param ofDestination header changes of the weighted destination, which Envoy applies first
 */
export function routeRewrite(
  { rewrite, headers }: HttpRoute,
  match: HttpMatch | undefined,
  ofDestination: unknown,
): Rewrite {
  const changes = [...headerChanges(ofDestination), ...headerChanges(headers)];
  const path = pathOf(rewrite, match);
  const host = rewrite?.authority || changes.findLast(({ name }) => isHost(name))?.value;
  return {
    ...(path && { path }),
    ...(host && { host }),
    headers: changes.filter(({ name }) => !isHost(name)),
  };
}

function pathOf(rewrite: HttpRoute['rewrite'], match: HttpMatch = {}): Rewrite['path'] {
  if (rewrite?.uriRegexRewrite !== undefined) return 'unknown';
  const by = rewrite?.uri;
  if (!by) return undefined;
  const { exact, regex, prefix = '/' } = match.uri ?? {};
  if (exact !== undefined || regex !== undefined) return { whole: true, by };
  return { whole: false, prefix, ignoreCase: match.ignoreUriCase === true, by, segments: false };
}

/** Parses header changes in Istio's format: `request` with `remove`, `set` and `add`. */
function headerChanges(headers: unknown): readonly HeaderChange[] {
  const { set, add, remove } = record(record(headers).request);
  const written = (change: 'set' | 'add', given: unknown): readonly HeaderChange[] =>
    Object.entries(record(given)).map(([name, value]) => headerChange(name, change, String(value)));
  return [
    ...texts(remove)
      .filter((name) => !isHost(name.toLowerCase()))
      .map((name) => headerChange(name, 'remove', '')),
    ...written('set', set),
    ...written('add', add),
  ];
}

/** Creates a header change. Envoy substitutes `%COMMAND%` in values, so such a value is not known in advance. */
function headerChange(name: string, change: HeaderChange['change'], value: string): HeaderChange {
  return { name: name.toLowerCase(), change: value.includes('%') ? 'compute' : change, value };
}

function isHost(name: string): boolean {
  return name === 'host' || name.startsWith(':');
}

/** Parses the changes that the filters of a Gateway API route make. */
export function filterRewrite(filters: readonly RouteFilter[], match: HttpMatch | undefined): Rewrite {
  const rewrites = filters.flatMap(({ type, urlRewrite }) => (type === 'URLRewrite' && urlRewrite ? [urlRewrite] : []));
  const path = rewrites.flatMap((one) => (one.path ? [one.path] : []))[0];
  const host = rewrites.find(({ hostname }) => hostname)?.hostname;
  const changes = filters.flatMap((filter) => {
    if (filter.type !== 'RequestHeaderModifier') return [];
    const { set, add, remove } = record(record(filter).requestHeaderModifier);
    const pairs = (given: unknown) =>
      Object.fromEntries(items(given as readonly object[]).map((one) => [text(record(one).name), record(one).value]));
    return headerChanges({ request: { set: pairs(set), add: pairs(add), remove } });
  });
  return {
    ...(path && { path: filterPath(path, match) }),
    ...(host && { host }),
    headers: changes.filter(({ name }) => !isHost(name)),
  };
}

/** Parses a path rewrite. A segment prefix was translated to two Istio matches, an exact path and a prefix with `/`. */
function filterPath(
  { replaceFullPath, replacePrefixMatch = '' }: NonNullable<NonNullable<RouteFilter['urlRewrite']>['path']>,
  { uri }: HttpMatch = {},
): PathRewrite | 'unknown' {
  if (replaceFullPath !== undefined) return { whole: true, by: replaceFullPath };
  if (uri?.regex !== undefined) return 'unknown';
  const by = replacePrefixMatch.replace(/\/$/, '');
  // Istio replaces the leading slash of the path, but the API keeps it.
  if (uri === undefined && by !== '') return 'unknown';
  if (uri?.exact !== undefined) return { whole: true, by: by || '/' };
  const prefix = (uri?.prefix ?? '/').replace(/\/$/, '');
  return { whole: false, prefix, ignoreCase: false, by, segments: true };
}

/** Returns the matches as they apply to the rewritten calls that the workload sees. */
export function rewrittenMatches(
  matches: readonly HttpMatch[],
  rewrite: (match: HttpMatch) => Rewrite,
): readonly HttpMatch[] {
  return (matches.length > 0 ? matches : [{}]).map((match) => {
    const { path } = rewrite(match);
    if (path === undefined) return match;
    if (path === 'unknown') return { ...match, uri: {} };
    if (path.whole) return { ...match, uri: { exact: path.by } };
    const rest = (match.uri?.prefix ?? path.prefix).slice(path.prefix.length);
    return { ...match, uri: { prefix: path.by + rest } };
  });
}

/** Returns the rewritten path without its query string. Undefined if it is unknown. */
export function rewrittenPath(rewrite: Rewrite['path'], path: string): string | undefined {
  if (rewrite === undefined) return path;
  if (rewrite === 'unknown') return undefined;
  return rewrite.whole ? rewrite.by : rewrite.by + path.slice(rewrite.prefix.length);
}

/** Returns a header's value after a route's changes. The value is undefined if the header is missing. */
export function rewrittenHeader(
  { headers }: Rewrite,
  name: string,
  before: { readonly value: string | undefined } | 'unknown',
): { readonly value: string | undefined } | 'unknown' {
  let state = before;
  for (const one of headers) {
    if (one.name !== name) continue;
    if (one.change === 'compute') state = 'unknown';
    else if (one.change === 'remove') state = { value: undefined };
    else if (one.change === 'set') state = { value: one.value };
    else if (state !== 'unknown')
      state = { value: state.value === undefined ? one.value : `${state.value},${one.value}` };
  }
  return state;
}
