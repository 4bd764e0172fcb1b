/** Determines the changes that a route makes to a request before the workload receives it. */
import type { HttpMatch, HttpRoute, RouteFilter } from '@meshpass/istio';
import { items, record, text, texts } from '@meshpass/istio/members';

/** The replacement for the entire path, or for the prefix that the route matches. The query string is preserved. */
export type PathRewrite =
  | { readonly whole: true; readonly by: string }
  | {
      readonly whole: false;
      readonly prefix: string;
      readonly ignoreCase: boolean;
      readonly by: string;
      /** Whether the prefix only matches whole segments, so that the rest of the path is empty or starts with `/`. */
      readonly segments: boolean;
    };

export interface HeaderChange {
  /** The name of the header, in lowercase. */
  readonly name: string;
  /** How the header is changed. With `compute`, the new value is only known once a request arrives. */
  readonly change: 'set' | 'add' | 'remove' | 'compute';
  readonly value: string;
}

export interface Rewrite {
  readonly path?: PathRewrite | 'unknown';
  /** The new host, including the port if there is one. */
  readonly host?: string;
  /** The changes to headers, in the order in which they are applied. */
  readonly headers: readonly HeaderChange[];
}

export const NO_REWRITE: Rewrite = { headers: [] };

/**
 * Parses the changes that a VirtualService route makes to requests. Source: `TranslateRoute` in
 * pilot/pkg/networking/core/route/route.go.
 * @param match the match that applies to the call, which determines the prefix to replace
 * @param ofDestination the header changes of the weighted destination, which Envoy applies first
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

/** Parses header changes in Istio's format, in which `request` contains `remove`, `set` and `add`. */
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

/** Creates a header change. Envoy replaces each `%COMMAND%` in a value, so such a value is not known in advance. */
function headerChange(name: string, change: HeaderChange['change'], value: string): HeaderChange {
  return { name: name.toLowerCase(), change: value.includes('%') ? 'compute' : change, value };
}

function isHost(name: string): boolean {
  return name === 'host' || name.startsWith(':');
}

/** Parses the changes that the filters of a Gateway API route make to requests. */
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

/**
 * Parses a path rewrite. Istio represents a segment prefix as two matches: the exact path, and the prefix followed by a
 * slash.
 */
function filterPath(
  { replaceFullPath, replacePrefixMatch = '' }: NonNullable<NonNullable<RouteFilter['urlRewrite']>['path']>,
  { uri }: HttpMatch = {},
): PathRewrite | 'unknown' {
  if (replaceFullPath !== undefined) return { whole: true, by: replaceFullPath };
  if (uri?.regex !== undefined) return 'unknown';
  const by = replacePrefixMatch.replace(/\/$/, '');
  // Istio replaces the slash at the start of the path, whereas the Gateway API keeps it.
  if (uri === undefined && by !== '') return 'unknown';
  if (uri?.exact !== undefined) return { whole: true, by: by || '/' };
  const prefix = (uri?.prefix ?? '/').replace(/\/$/, '');
  return { whole: false, prefix, ignoreCase: false, by, segments: true };
}

/** Converts matches so that they apply to the rewritten calls that the workload receives. */
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

/** Returns the path after rewriting, without its query string. Returns undefined if it is unknown. */
export function rewrittenPath(rewrite: Rewrite['path'], path: string): string | undefined {
  if (rewrite === undefined) return path;
  if (rewrite === 'unknown') return undefined;
  return rewrite.whole ? rewrite.by : rewrite.by + path.slice(rewrite.prefix.length);
}

/** Returns the value of a header after a route's changes. The value is undefined if the header is missing. */
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
