/**
 * Transforms the routes of a grant. Only the names of granted services are kept. A route to a target outside the grant
 * is replaced with a response that explains why the request was rejected.
 */
import type { Any } from '@bufbuild/protobuf/wkt';
import { createErrorRoute, pack } from '@meshpass/envoy';
import type { TransformedGrant } from './granted.ts';
import { istioMetadata, ownName, parseClusterName, read, referencedClusters, renameClusters } from './resources.ts';
import type { Metadata, Route, RouteAction, RouteConfiguration, VirtualHost } from './shapes.ts';
import { addWebSocketRoutes } from './websocket.ts';

const WHERE = 'RouteConfiguration';

/**
 * Transforms a route configuration from istiod for use in a workspace.
 * @param http2 the names of the clusters that have a second cluster for WebSockets
 * @returns the route configuration, or undefined if no granted host remains
 */
export function transformRoutes(any: Any, granted: TransformedGrant, http2: ReadonlySet<string>): Any | undefined {
  const routes = read<RouteConfiguration>(any);
  if (!routes) return undefined;
  const transformed = ownRoutes(routes, granted);
  if (transformed) addWebSocketRoutes(transformed, http2);
  return transformed && pack(transformed);
}

/** Rewrites a route configuration in place. Returns undefined if no granted host remains. */
export function ownRoutes(routes: RouteConfiguration, granted: TransformedGrant): RouteConfiguration | undefined {
  // If a port has no declared protocol, istiod's routes for it belong to one service and match any name. Change them so
  // that they only match the names of that service.
  const [, host, port] = /^([^:]+):([0-9]+)$/.exec(routes.name) ?? [];
  const own = granted.services.find((one) => one.host === host && one.port === Number(port));
  if (own) routes.ignorePortInHostMatching = true;
  routes.name = ownName(granted.grant, routes.name);
  routes.metadata = istioMetadata(routes.metadata);
  routes.requestMirrorPolicies = mirrors(routes.requestMirrorPolicies, granted);
  routes.virtualHosts = routes.virtualHosts.flatMap((one) => {
    if (own && one.domains.includes('*') && !isFallback(one)) one.domains = [own.host, ...own.aliases];
    one.domains = one.domains.filter((domain) => (domain === '*' ? isFallback(one) : granted.isName(domain)));
    if (one.domains.length === 0) return [];
    one.metadata = istioMetadata(one.metadata);
    one.requestMirrorPolicies = mirrors(one.requestMirrorPolicies, granted);
    for (const route of one.routes) ownRoute(route, granted);
    return [one];
  });
  return routes.virtualHosts.every((one) => one.domains.includes('*')) ? undefined : routes;
}

/** Whether a virtual host is the one that istiod adds as a fallback for unknown names. */
function isFallback({ routes }: VirtualHost): boolean {
  return routes.every(({ action }) => action.case === 'directResponse');
}

function ownRoute(route: Route, granted: TransformedGrant): void {
  const from = istioMetadata(route.metadata);
  route.metadata = from;
  if (route.action.case !== 'route') return;
  const action = route.action.value;
  const outside = referencedClusters(action).filter((cluster) => !granted.serviceOf(cluster));
  if (outside.length > 0) {
    granted.leaveOut('route to a service that is not granted', WHERE);
    refuse(route, outside, from, granted.grant);
    return;
  }
  renameClusters(action, (name) => ownName(granted.grant, name));
  action.requestMirrorPolicies = mirrors(action.requestMirrorPolicies, granted);
}

/**
 * Removes mirror policies for services that are not granted. Clients never see the response from a mirror, so the
 * request itself does not have to be rejected.
 */
function mirrors(policies: RouteAction['requestMirrorPolicies'], granted: TransformedGrant) {
  return policies.flatMap((one) => {
    if (!granted.serviceOf(one.cluster) || one.clusterHeader !== '') {
      granted.leaveOut('mirror to a service that is not granted', WHERE);
      return [];
    }
    one.cluster = ownName(granted.grant, one.cluster);
    return [one];
  });
}

/**
 * Replaces a route to a target outside the grant with an error response. The name of the target is not confidential,
 * because it appears in the VirtualService of a granted service.
 */
function refuse(route: Route, outside: readonly string[], from: Metadata | undefined, grant: string): void {
  const hosts = outside.map((cluster) => {
    const target = parseClusterName(cluster);
    return target ? `${target.host}:${target.port}` : 'a service chosen by the request';
  });
  const rule = virtualServiceOf(from);
  const to = [...new Set(hosts)].join(', ');
  const said = `${rule ? `VirtualService ${rule}` : 'A route'} leads to ${to}, which grant ${grant} does not allow.`;
  const refusal = createErrorRoute(403, 'agent_route_not_granted', said) as Route;
  route.action = refusal.action;
  route.responseHeadersToAdd = refusal.responseHeadersToAdd;
  route.requestHeadersToAdd = [];
  route.typedPerFilterConfig = {};
}

/**
 * Returns the VirtualService that a route comes from as `NAMESPACE/NAME`. Istio's metadata contains it in the form
 * `/apis/networking.istio.io/v1/namespaces/NAMESPACE/virtual-service/NAME`.
 */
function virtualServiceOf(metadata: Metadata | undefined): string | undefined {
  const { config } = (metadata?.filterMetadata.istio ?? {}) as { readonly config?: string };
  const [, namespace, name] = /\/namespaces\/([^/]+)\/virtual-service\/([^/]+)$/.exec(config ?? '') ?? [];
  return namespace && `${namespace}/${name}`;
}
