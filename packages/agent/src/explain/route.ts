/** Where a request goes by the routes that Envoy has now: to which service, by which VirtualService, or who answers instead. */
import { refusalIn } from '../xds/route-refusals.ts';
import { type AskedRequest, asksForHeaders, matches } from './route-match.ts';

export interface RouteTarget {
  readonly host: string;
  readonly port: number;
  readonly subset?: string;
  /** Of several. */
  readonly weight?: number;
}

export type RouteAnswer = {
  /** `NAMESPACE/NAME` of the VirtualService; absent where there is none, or it is not said. */
  readonly rule?: string;
  /** What else it does, in words. */
  readonly notes: readonly string[];
} & (
  | {
      readonly kind: 'forward';
      readonly to: readonly RouteTarget[];
      /** Where a rewrite changes it; null where that is not understood here. */
      readonly path?: string | null;
    }
  | {
      readonly kind: 'answer';
      readonly status: number /** Why: the route leads out of the grants. */;
      readonly notGranted?: string;
    }
  | { readonly kind: 'redirect' }
  | { readonly kind: 'no-route' }
  | { readonly kind: 'unknown'; readonly why: string }
);

// biome-ignore lint/suspicious/noExplicitAny: JSON of Envoy's messages, read member by member
type Json = any;

/** @param configuration JSON of `envoy.config.route.v3.RouteConfiguration` that has passed the check */
export function routeOf(configuration: Json, request: AskedRequest): RouteAnswer {
  const host = virtualHost(configuration.virtual_hosts ?? [], request.authority.toLowerCase());
  for (const route of host?.routes ?? []) {
    const matched = matches(route.match ?? {}, request);
    if (matched === 'no') continue;
    const rule = virtualServiceOf(route);
    if (matched === 'unknown') {
      const of = rule === undefined ? 'a route' : `VirtualService ${rule}`;
      return {
        kind: 'unknown',
        why: `whether ${of} takes it depends on a condition that is not understood here`,
        notes: [],
      };
    }
    return { ...(rule !== undefined && { rule }), ...actionOf(route, request) };
  }
  return { kind: 'no-route', notes: [] };
}

/** Exact names first, then `*` (envoy.config.route.v3.VirtualHost, `domains`); the longest of patterns is not needed: there are none. */
function virtualHost(hosts: Json[], authority: string): Json | undefined {
  const name = authority.replace(/:[0-9]+$/, '');
  const of = (wanted: string) => hosts.find(({ domains = [] }) => domains.includes(wanted));
  return of(authority) ?? of(name) ?? of('*');
}

function actionOf(route: Json, request: AskedRequest): RouteAnswer {
  const notes = notesOf(route);
  const { direct_response: answer, redirect, route: action } = route;
  if (answer) {
    const said = refusalIn(String(answer.body?.inline_string ?? ''));
    return {
      kind: 'answer',
      status: Number(answer.status),
      notes,
      ...(said && { notGranted: said.error_description }),
    };
  }
  if (redirect) return { kind: 'redirect', notes };
  const clusters: Json[] = action?.weighted_clusters?.clusters ?? (action?.cluster ? [{ name: action.cluster }] : []);
  const to = clusters.flatMap(({ name, weight }): RouteTarget[] => {
    const target = targetOf(name);
    return target ? [{ ...target, ...(clusters.length > 1 && { weight: Number(weight ?? 0) }) }] : [];
  });
  if (to.length === 0 || to.length < clusters.length)
    return { kind: 'unknown', why: 'its route leads to a cluster that is not understood here', notes };
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
    ...(asksForHeaders(route.match ?? {}) ? ['a call with other headers may take another route'] : []),
    ...(fault?.abort ? ['it injects a fault: some calls are answered with an error on purpose'] : []),
    ...(fault?.delay ? ['it injects a delay'] : []),
  ];
}

/** `GRANT/outbound|PORT|SUBSET|HOST`, and the same of a WebSocket. */
export function targetOf(cluster: string): RouteTarget | undefined {
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

/** From `/apis/networking.istio.io/v1/namespaces/NAMESPACE/virtual-service/NAME`. */
function virtualServiceOf(route: Json): string | undefined {
  const config = String(route.metadata?.filter_metadata?.istio?.config ?? '');
  const [, namespace, name] = /\/namespaces\/([^/]+)\/virtual-service\/([^/]+)$/.exec(config) ?? [];
  return namespace && `${namespace}/${name}`;
}
