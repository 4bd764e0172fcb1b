/**
 * Determines the changes that a route makes to a request before the workload receives it, and translates tests of the
 * changed request to conditions on the original one.
 */
import type { HttpMatch, HttpRoute, RouteFilter } from '@meshpass/istio';
import { items, record, text as textOf, texts } from '@meshpass/istio/members';
import {
  ALWAYS,
  all,
  any,
  type Condition,
  constant,
  NEVER,
  not,
  opaque,
  type Test,
  text,
} from '../diff/formula/condition.ts';
import { classOf } from '../diff/formula/pattern.ts';
import { type Piece, passesTest, type TextTest } from '../diff/formula/text-test.ts';
import { normalizePath } from '../evaluate/rule/path.ts';

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
      Object.fromEntries(items(given as readonly object[]).map((one) => [textOf(record(one).name), record(one).value]));
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

type TextOf = Extract<Test, { readonly op: 'text' }>;
type Normalization = Parameters<typeof normalizePath>[1];

/**
 * Returns the calls that pass a test after they have been rewritten, or undefined if the rewrite does not change the
 * tested field.
 * @param normalization how the workload's proxy normalizes the rewritten path
 */
export function preRewriteCondition(
  rewrite: Rewrite,
  test: TextOf,
  normalization: Normalization,
): Condition | undefined {
  const { field } = test;
  if (field === 'path') return rewrite.path && pathBefore(rewrite.path, test.test, normalization);
  if (field === 'host') return rewrite.host === undefined ? undefined : constant(passesTest(test.test, rewrite.host));
  if (!field.startsWith('header:')) return undefined;
  const name = field.slice('header:'.length);
  if (!rewrite.headers.some((one) => one.name === name)) return undefined;
  const after = rewrittenHeader(rewrite, name, 'unknown');
  return after === 'unknown' ? unknown(field) : constant(passesTest(test.test, after.value));
}

function unknown(field: string): Condition {
  return opaque(`a policy at the workload tests the ${field.replace(':', ' ')}, which the route changes`);
}

function pathBefore(rewrite: PathRewrite | 'unknown', test: TextTest, normalization: Normalization): Condition {
  if (rewrite === 'unknown') return unknown('path');
  if (rewrite.whole) {
    const sent = normalizePath(rewrite.by, normalization)?.replace(/\?.*$/s, '');
    return constant(passesTest(test, sent));
  }
  const { prefix, by, segments } = rewrite;
  if (!isPlain(by, normalization)) return unknown('path');
  const found = any(testsBefore(rewrite, test).map((one) => (one === ALWAYS ? ALWAYS : text('path', one as TextTest))));
  const joins = !segments && by.endsWith('/') && !prefix.endsWith('/');
  if (!joins) return found;
  // For example, `/a../x` becomes `/../x`, which the workload's proxy resolves, and `/a/x` becomes `//x`, whose slashes
  // it may merge.
  const merges = normalization === 'MERGE_SLASHES' || normalization === 'DECODE_AND_MERGE_SLASHES';
  const risky = any([
    text('path', { form: 'prefix', text: `${prefix}.` }),
    merges ? text('path', { form: 'prefix', text: `${prefix}/` }) : NEVER,
  ]);
  return any([all([found, not(risky)]), all([risky, unknown('path')])]);
}

/** Whether normalization leaves the new prefix unchanged. */
function isPlain(by: string, normalization: Normalization): boolean {
  if (by === '') return true;
  return by.startsWith('/') && !/\.$|\?/.test(by) && normalizePath(`${by}x`, normalization) === `${by}x`;
}

function testsBefore(
  rewrite: PathRewrite & { readonly whole: false },
  test: TextTest,
): readonly (TextTest | Condition)[] {
  const { by, prefix, ignoreCase } = rewrite;
  const head: readonly Piece[] = ignoreCase
    ? Array.from(prefix, () => ({ class: '.', many: false }))
    : [{ text: prefix }];
  const from = (...rest: readonly Piece[]) => toTest([...head, ...rest]);
  switch (test.form) {
    case 'present':
      return [by === '' ? from({ class: '.', many: false }, ANY) : ALWAYS];
    case 'exact':
      return test.text.startsWith(by) ? [from({ text: test.text.slice(by.length) })] : [];
    case 'prefix':
      if (by.startsWith(test.text)) return [ALWAYS];
      return test.text.startsWith(by) ? [from({ text: test.text.slice(by.length) }, ANY)] : [];
    case 'suffix': {
      const within = Array.from({ length: Math.min(by.length, test.text.length) }, (_, index) => index + 1).filter(
        (length) => by.endsWith(test.text.slice(0, length)),
      );
      return [from(ANY, { text: test.text }), ...within.map((length) => from({ text: test.text.slice(length) }))];
    }
    case 'pattern':
      return residuals(test.pieces, by).map((rest) => from(...rest));
  }
}

const ANY: Piece = { any: 'text' };

function toTest(given: readonly Piece[]): TextTest {
  const pieces: Piece[] = [];
  for (const piece of given) {
    const last = pieces.at(-1);
    if ('text' in piece && piece.text === '') continue;
    if ('text' in piece && last && 'text' in last) pieces[pieces.length - 1] = { text: last.text + piece.text };
    else pieces.push(piece);
  }
  const [first, second, ...others] = pieces;
  if (first && 'text' in first && !second) return { form: 'exact', text: first.text };
  if (first && 'text' in first && second === ANY && others.length === 0) return { form: 'prefix', text: first.text };
  return { form: 'pattern', pieces };
}

/** Returns the patterns that may match the rest of a text, given how the text starts. */
function residuals(pieces: readonly Piece[], start: string): readonly (readonly Piece[])[] {
  let left: readonly (readonly Piece[])[] = [pieces];
  for (const letter of start) {
    const next = left.flatMap((one) => after(one, letter));
    left = [...new Map(next.map((one) => [JSON.stringify(one), one])).values()];
  }
  return left;
}

function after(pieces: readonly Piece[], letter: string): readonly (readonly Piece[])[] {
  const [first, ...rest] = pieces;
  if (!first) return [];
  if ('text' in first) {
    if (first.text === '') return after(rest, letter);
    return first.text[0] === letter ? [[{ text: first.text.slice(1) }, ...rest]] : [];
  }
  return afterWildcard(first, rest, letter);
}

function afterWildcard(
  first: Exclude<Piece, { readonly text: string }>,
  rest: readonly Piece[],
  letter: string,
): readonly (readonly Piece[])[] {
  const source = classOf(first);
  const isIn = new RegExp(`^${source}$`, 's').test(letter);
  if ('class' in first && !first.many) return isIn ? [rest] : [];
  const isSegment = 'any' in first && first.any === 'segment';
  // A segment has at least one character. After the first one, all others are optional.
  const taken: readonly (readonly Piece[])[] = isIn
    ? [[isSegment ? { class: source, many: true } : first, ...rest]]
    : [];
  return isSegment ? taken : [...taken, ...after(rest, letter)];
}
