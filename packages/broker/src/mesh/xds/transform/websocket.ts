/**
 * WebSockets alongside HTTP/2. Istio's sidecars do not accept them over HTTP/2 (RFC 8441). So each cluster that the
 * relay switched to HTTP/2 has a second cluster with HTTP/1.1, and each route to it has a second route for WebSocket
 * upgrades.
 */
import { clone } from '@bufbuild/protobuf';
import { messageOf, messageType } from '@meshpass/envoy';
import type { Route, RouteAction, RouteConfiguration } from './shapes.ts';

/**
 * Returns the second cluster's name.
 * @param name cluster name in a workspace, `GRANT/...`
 */
export function webSocketCluster(name: string): string {
  return name.replace('/', '/websocket/');
}

/**
 * Adds the WebSocket routes. Mutates the message.
 * @param http2 names of the clusters that have a second one
 */
export function addWebSocketRoutes(routes: RouteConfiguration, http2: ReadonlySet<string>): void {
  for (const host of routes.virtualHosts)
    host.routes = host.routes.flatMap((route) =>
      leadsTo(route).some((name) => http2.has(name)) ? [forWebSockets(route, http2), route] : [route],
    );
}

function leadsTo({ action }: Route): readonly string[] {
  if (action.case !== 'route') return [];
  const { clusterSpecifier: to } = action.value;
  if (to.case === 'cluster') return [to.value];
  return to.case === 'weightedClusters' ? to.value.clusters.map(({ name }) => name) : [];
}

function forWebSockets(route: Route, http2: ReadonlySet<string>): Route {
  const copy = clone(messageType('envoy.config.route.v3.Route'), route) as unknown as Route;
  copy.match?.headers.push(
    messageOf('envoy.config.route.v3.HeaderMatcher', {
      name: 'upgrade',
      string_match: { exact: 'websocket', ignore_case: true },
    }),
  );
  const action = copy.action.value as RouteAction;
  const { clusterSpecifier: to } = action;
  const own = (name: string) => (http2.has(name) ? webSocketCluster(name) : name);
  if (to.case === 'cluster') action.clusterSpecifier = { case: 'cluster', value: own(to.value) };
  if (to.case === 'weightedClusters') for (const one of to.value.clusters) one.name = own(one.name);
  return copy;
}
