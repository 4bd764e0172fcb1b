/** Builds the part of a grant's configuration that workspaces may receive. */
import type { Any } from '@bufbuild/protobuf/wkt';
import { reduceResource } from '@meshpass/envoy';
import { transformCluster } from './cluster.ts';
import type { GrantedServices } from './granted.ts';
import { createLeftOutCounter } from './left-out.ts';
import { parseListeners, transformListener } from './listener.ts';
import { ownName } from './names.ts';
import { edsServiceName, routeConfigurationNames } from './references.ts';
import { nameOf, type RawResources } from './resources.ts';
import { transformRoutes } from './route.ts';
import { webSocketCluster } from './websocket.ts';

export type GrantConfiguration = ReturnType<typeof grantConfiguration>;

/**
 * Transforms the resources from istiod for a grant. The result is sorted so that equal content always has equal bytes.
 */
export function grantConfiguration(raw: RawResources, granted: GrantedServices) {
  const leftOuts = createLeftOutCounter();
  const { grant, trustDomain, clusterDomain, tokenHeader } = granted;
  const reduce = (any: Any | undefined): Any | undefined => {
    if (!any) return undefined;
    const where = any.typeUrl.slice(any.typeUrl.lastIndexOf('.') + 1);
    const { resource, leftOut } = reduceResource(any, { trustDomain, clusterDomain, tokenHeader, grants: [grant] });
    for (const { what } of leftOut) leftOuts.add(what, where);
    return resource;
  };
  const clusters = inOrder(raw.clusters).flatMap(([, any]) => {
    const endpoints = raw.endpoints.get(edsServiceName(any) ?? '');
    return transformCluster(any, endpoints, granted, leftOuts).flatMap((one) => reduce(one) ?? []);
  });
  const names = new Set(clusters.map((any) => nameOf(any)!));
  const http2 = new Set([...names].filter((name) => names.has(webSocketCluster(name))));
  const found = parseListeners(raw.listeners);
  const listeners = granted.services.flatMap((service) => {
    const listener = reduce(transformListener(service, found, granted, leftOuts));
    return listener ? [{ service, listener }] : [];
  });
  const asked = new Set(listeners.flatMap(({ listener }) => routeConfigurationNames(listener)));
  const routes = inOrder(raw.routes).flatMap(([name, any]) =>
    asked.has(ownName(grant, name)) ? (reduce(transformRoutes(any, granted, http2, leftOuts)) ?? []) : [],
  );
  return { grant, listeners, clusters, routes, leftOut: leftOuts.all() };
}

function inOrder(resources: ReadonlyMap<string, Any>): readonly (readonly [string, Any])[] {
  return [...resources].sort(([a], [b]) => (a < b ? -1 : 1));
}
