/**
 * Supports WebSockets alongside HTTP/2. Istio's sidecars do not accept WebSockets over HTTP/2 (RFC 8441). Therefore,
 * each cluster that the relay switched to HTTP/2 has a second cluster with HTTP/1.1, and each route to such a cluster
 * has a second route for WebSocket upgrades.
 */
import { clone } from '@bufbuild/protobuf';
import { messageFromJson, messageType } from '@meshpass/envoy';
import { referencedClusters, renameClusters } from './references.ts';
import type { Route, RouteAction, RouteConfiguration } from './shapes.ts';

/**
 * Returns the name of the second cluster.
 * @param name name of the first cluster in a workspace, `GRANT/...`
 */
export function webSocketCluster(name: string): string {
  return name.replace('/', '/websocket/');
}

/**
 * Adds the WebSocket routes. Mutates the message.
 * @param http2 names of the clusters that have a second cluster
 */
export function addWebSocketRoutes(routes: RouteConfiguration, http2: ReadonlySet<string>): void {
  for (const host of routes.virtualHosts)
    host.routes = host.routes.flatMap((route) => {
      const to = route.action.case === 'route' ? referencedClusters(route.action.value) : [];
      return to.some((name) => http2.has(name)) ? [forWebSockets(route, http2), route] : [route];
    });
}

function forWebSockets(route: Route, http2: ReadonlySet<string>): Route {
  const copy = clone(messageType('envoy.config.route.v3.Route'), route) as unknown as Route;
  copy.match?.headers.push(
    messageFromJson('envoy.config.route.v3.HeaderMatcher', {
      name: 'upgrade',
      string_match: { exact: 'websocket', ignore_case: true },
    }),
  );
  renameClusters(copy.action.value as RouteAction, (name) => (http2.has(name) ? webSocketCluster(name) : name));
  return copy;
}
