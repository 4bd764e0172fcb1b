/**
 * Makes WebSockets work for clusters that use HTTP/2. Istio's sidecars do not accept WebSockets over HTTP/2 (RFC 8441).
 * Every cluster that the relay has switched to HTTP/2 is therefore accompanied by a second cluster that uses HTTP/1.1,
 * and every route to such a cluster by a second route for WebSocket upgrades.
 */
import { clone } from '@bufbuild/protobuf';
import { messageFromJson, messageType } from '@meshpass/envoy';
import { referencedClusters, renameClusters } from './resources.ts';
import type { Route, RouteAction, RouteConfiguration } from './shapes.ts';

/**
 * Returns the name of the second cluster, which is used for WebSockets.
 * @param name the name of the first cluster in a workspace, `GRANT/...`
 */
export function webSocketCluster(name: string): string {
  return name.replace('/', '/websocket/');
}

/**
 * Adds a WebSocket route in front of every route to one of the given clusters. The message is modified in place.
 * @param http2 the names of the clusters that have a second cluster
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
