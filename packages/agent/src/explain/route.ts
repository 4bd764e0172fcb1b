/**
 * Finds the destination of a request in Envoy's current routes: either the service and its VirtualService, or the hop
 * that responds instead.
 */
import { parseRefusal } from '../xds/route-refusals.ts';
import { type ExplainedRequest, evaluateRouteMatch, matchesOnHeaders } from './route-match.ts';

export interface RouteTarget {
  readonly host: string;
  readonly port: number;
  readonly subset?: string;
  /** The weight of this target, if the route has more than one. */
  readonly weight?: number;
  /** Set if Envoy has not received any endpoints for the target, in which case every call fails with 503. */
  readonly hasNoEndpoint?: boolean;
}

export type RouteAnswer = {
  /** The `NAMESPACE/NAME` of the VirtualService. Absent if the route does not identify one. */
  readonly rule?: string;
  /** Descriptions of any other effects of the route. */
  readonly notes: readonly string[];
} & (
  | {
      readonly kind: 'forward';
      readonly to: readonly RouteTarget[];
      /** The path after a rewrite. Null if this kind of rewrite is not supported here. */
      readonly path?: string | null;
    }
  | {
      readonly kind: 'answer';
      readonly status: number;
      /** The refusal that the broker substituted for the route. */
      readonly refusal?: { readonly code: string; readonly description: string };
    }
  | { readonly kind: 'redirect' }
  | { readonly kind: 'no-route' }
  | { readonly kind: 'unknown'; readonly why: string }
);

// biome-ignore lint/suspicious/noExplicitAny: JSON of Envoy's messages, read member by member
type Json = any;

/**
 * Finds the route that Envoy would use for a request.
 * @param configuration a validated `envoy.config.route.v3.RouteConfiguration` in JSON
 */
export function findRoute(configuration: Json, request: ExplainedRequest): RouteAnswer {
  const host = virtualHost(configuration.virtual_hosts ?? [], request.authority.toLowerCase());
  for (const route of host?.routes ?? []) {
    const matched = evaluateRouteMatch(route.match ?? {}, request);
    if (matched === 'no') continue;
    const rule = virtualServiceOf(route);
    if (matched === 'unknown') {
      const of = rule === undefined ? 'a route' : `VirtualService ${rule}`;
      return {
        kind: 'unknown',
        why: `whether ${of} matches depends on a condition that meshpass explain does not support`,
        notes: [],
      };
    }
    return { ...(rule !== undefined && { rule }), ...actionOf(route, request) };
  }
  return { kind: 'no-route', notes: [] };
}

/**
 * Selects the virtual host for an authority. Exact names take precedence over `*` (see `domains` in
 * envoy.config.route.v3.VirtualHost). Other patterns do not occur.
 */
function virtualHost(hosts: Json[], authority: string): Json | undefined {
  const name = authority.replace(/:[0-9]+$/, '');
  const of = (wanted: string) => hosts.find(({ domains = [] }) => domains.includes(wanted));
  return of(authority) ?? of(name) ?? of('*');
}

function actionOf(route: Json, request: ExplainedRequest): RouteAnswer {
  const notes = notesOf(route);
  const { direct_response: answer, redirect, route: action } = route;
  if (answer) {
    const said = parseRefusal(String(answer.body?.inline_string ?? ''));
    return {
      kind: 'answer',
      status: Number(answer.status),
      notes,
      ...(said && { refusal: { code: said.error_code, description: said.error_description } }),
    };
  }
  if (redirect) return { kind: 'redirect', notes };
  const clusters: Json[] = action?.weighted_clusters?.clusters ?? (action?.cluster ? [{ name: action.cluster }] : []);
  const to = clusters.flatMap(({ name, weight }): RouteTarget[] => {
    const target = parseClusterTarget(name);
    return target ? [{ ...target, ...(clusters.length > 1 && { weight: Number(weight ?? 0) }) }] : [];
  });
  if (to.length === 0 || to.length < clusters.length)
    return { kind: 'unknown', why: 'its route leads to a cluster that meshpass explain does not recognize', notes };
  const path = rewritten(route, action, request.path);
  return {
    kind: 'forward',
    to: to.filter(({ weight }) => weight !== 0),
    notes,
    ...(path !== request.path && { path }),
  };
}

function notesOf(route: Json): string[] {
  const fault = route.typed_per_filter_config?.['envoy.filters.http.fault'];
  return [
    ...(matchesOnHeaders(route.match ?? {}) ? ['a call with other headers may take a different route'] : []),
    ...(fault?.abort ? ['it injects a fault: some calls fail on purpose'] : []),
    ...(fault?.delay ? ['it injects a delay'] : []),
  ];
}

/** Parses a cluster name of the form `GRANT/outbound|PORT|SUBSET|HOST`, including the variant for WebSockets. */
export function parseClusterTarget(cluster: string): RouteTarget | undefined {
  const [, port, subset, host] = /\/outbound\|([0-9]+)\|([^|]*)\|([^|]+)$/.exec(cluster) ?? [];
  return host === undefined ? undefined : { host, port: Number(port), ...(subset && { subset }) };
}

function rewritten(route: Json, action: Json, asked: string): string | null {
  const { prefix_rewrite: by, regex_rewrite: regex, path_rewrite_policy: policy, path_rewrite: format } = action;
  if (regex || policy || format) return null;
  if (!by) return asked;
  const { prefix, path, path_separated_prefix: below } = route.match;
  const replaced = prefix ?? path ?? below;
  return typeof replaced === 'string' ? by + asked.slice(replaced.length) : null;
}

/** Extracts the namespace and name from `/apis/networking.istio.io/v1/namespaces/NAMESPACE/virtual-service/NAME`. */
function virtualServiceOf(route: Json): string | undefined {
  const config = String(route.metadata?.filter_metadata?.istio?.config ?? '');
  const [, namespace, name] = /\/namespaces\/([^/]+)\/virtual-service\/([^/]+)$/.exec(config) ?? [];
  return namespace && `${namespace}/${name}`;
}
