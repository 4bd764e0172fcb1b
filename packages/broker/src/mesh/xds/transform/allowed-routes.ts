/** Converts the requests that a grant allows (by method and path, as in the access file) to Envoy route matches. */
import type { JsonObject } from '@bufbuild/protobuf';
import type { AllowedOperations } from './granted.ts';

type Operation = NonNullable<AllowedOperations['allow']>[number];

/**
 * Builds the route matches for the operations that a grant allows.
 * @returns envoy.config.route.v3.RouteMatch messages. Every allowed request matches at least one of them, and no other
 *   request matches any.
 */
export function routeMatches({
  allow = [{ method: '*', path: '/*' }],
  deny = [],
}: AllowedOperations): readonly JsonObject[] {
  return allow.flatMap((operation) => byMethod(operation, deny));
}

/**
 * Splits an operation by method. A route only matches if all of its conditions are true. If a denial only applies to
 * certain methods, each of these methods therefore needs its own match, and all other methods share another one.
 */
function byMethod({ method, path }: Operation, deny: readonly Operation[]): readonly JsonObject[] {
  const denied = (of: string) =>
    deny.filter((one) => one.method === '*' || one.method === of).map((one) => not(pathHeader(one.path)));
  if (method !== '*') return [match(path, [equals(method), ...denied(method)])];
  const special = [...new Set(deny.map((one) => one.method))].filter((one) => one !== '*');
  return [
    ...special.map((one) => match(path, [equals(one), ...denied(one)])),
    match(path, [...special.map((one) => not(equals(one))), ...denied('*')]),
  ];
}

function match(path: string, headers: readonly JsonObject[]): JsonObject {
  const conditions: JsonObject = headers.length > 0 ? { headers: [...headers] } : {};
  if (path.includes('{')) return { safe_regex: { regex: `^${templateRegex(path)}$` }, ...conditions };
  if (path.endsWith('*')) return { prefix: path.slice(0, -1), ...conditions };
  return { path, ...conditions };
}

function equals(method: string): JsonObject {
  return { name: ':method', string_match: { exact: method } };
}

function not(matcher: JsonObject): JsonObject {
  return { ...matcher, invert_match: true };
}

/** Builds the condition that matches a path against the `:path` header, which also contains the query string. */
function pathHeader(path: string): JsonObject {
  const body = path.includes('{')
    ? templateRegex(path)
    : path.endsWith('*')
      ? `${quoted(path.slice(0, -1))}[^?]*`
      : quoted(path);
  return { name: ':path', string_match: { safe_regex: { regex: `^${body}(?:[?].*)?$` } } };
}

/**
 * Converts a path template to a regular expression. `{*}` matches one segment and `{**}` matches any number of segments
 * (istio.io, Authorization Policy).
 */
function templateRegex(path: string): string {
  return path
    .split('/')
    .map((segment) => (segment === '{*}' ? '[^/?]+' : segment === '{**}' ? '[^?]*' : quoted(segment)))
    .join('/');
}

/**
 * Escapes each of RE2's special characters with a single backslash. This way, even the longest path stays within the
 * agents' limit for regular expressions.
 */
function quoted(text: string): string {
  return text.replace(/[\\.+*?()|[\]{}^$]/g, '\\$&');
}
