/** Which requests a grant allows, as matches of Envoy's routes: method and path, as in the access file. */
import type { JsonObject } from '@bufbuild/protobuf';

/** As in the access file: a method or `*`, and a path that is exact, ends in `*`, or is a template of Istio. */
export interface Operation {
  readonly method: string;
  readonly path: string;
}

export interface Allowed {
  /** Absent: the whole port. */
  readonly allow?: readonly Operation[] | undefined;
  /** Refused all the same. */
  readonly deny?: readonly Operation[] | undefined;
}

/** @returns matches of envoy.config.route.v3.RouteMatch; a request that is allowed meets one of them, and no other does */
export function matchesOf({ allow = [{ method: '*', path: '/*' }], deny = [] }: Allowed): readonly JsonObject[] {
  return allow.flatMap((operation) => byMethod(operation, deny));
}

/** Routes match all of their conditions: so what is denied for some methods only is one match for each of them, and one for the rest. */
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

/** In a header, a path has its query with it. */
function pathHeader(path: string): JsonObject {
  const body = path.includes('{')
    ? templateRegex(path)
    : path.endsWith('*')
      ? `${quoted(path.slice(0, -1))}[^?]*`
      : quoted(path);
  return { name: ':path', string_match: { safe_regex: { regex: `^${body}(?:[?].*)?$` } } };
}

/** `{*}` is one segment, `{**}` any number of them (istio.io, Authorization Policy, `paths`). */
function templateRegex(path: string): string {
  return path
    .split('/')
    .map((segment) => (segment === '{*}' ? '[^/?]+' : segment === '{**}' ? '[^?]*' : quoted(segment)))
    .join('/');
}

function quoted(text: string): string {
  return text.replace(/[^A-Za-z0-9/_-]/g, (one) => `[${one === '^' ? '\\^' : one}]`);
}
