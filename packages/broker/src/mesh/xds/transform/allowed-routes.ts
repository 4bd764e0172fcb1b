/** Converts the requests that a grant allows (method and path, as in the access file) to Envoy route matches. */
import type { JsonObject } from '@bufbuild/protobuf';
import type { GrantedPort } from '@meshpass/access';

export type AllowedOperations = Pick<GrantedPort, 'allow' | 'deny'>;
type Operation = NonNullable<AllowedOperations['allow']>[number];

/**
 * Builds the route matches for allowed operations.
 * @returns envoy.config.route.v3.RouteMatch messages. Every allowed request matches at least one of them, and other
 *   requests do not match any
 */
export function routeMatches({
  allow = [{ method: '*', path: '/*' }],
  deny = [],
}: AllowedOperations): readonly JsonObject[] {
  return allow.flatMap((operation) => byMethod(operation, deny));
}

/**
 * Splits an operation by method. All conditions of a route must be met, so a denial for certain methods needs one match
 * for each of these methods and another one for the rest.
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

/** Builds the condition that matches a path against the `:path` header, which includes the query. */
function pathHeader(path: string): JsonObject {
  const body = path.includes('{')
    ? templateRegex(path)
    : path.endsWith('*')
      ? `${quoted(path.slice(0, -1))}[^?]*`
      : quoted(path);
  return { name: ':path', string_match: { safe_regex: { regex: `^${body}(?:[?].*)?$` } } };
}

/** Converts a path template to a regex. `{*}` is one segment, `{**}` any number (istio.io, Authorization Policy). */
function templateRegex(path: string): string {
  return path
    .split('/')
    .map((segment) => (segment === '{*}' ? '[^/?]+' : segment === '{**}' ? '[^?]*' : quoted(segment)))
    .join('/');
}

/**
 * Escapes each special character of RE2 with a single character, so that the longest path stays within the agents'
 * limit for regular expressions.
 */
function quoted(text: string): string {
  return text.replace(/[\\.+*?()|[\]{}^$]/g, '\\$&');
}
