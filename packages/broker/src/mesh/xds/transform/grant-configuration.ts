/** Builds the part of a grant's configuration that workspaces may receive. */
import type { Any } from '@bufbuild/protobuf/wkt';
import { reduceResource } from '@meshpass/envoy';
import { transformCluster } from './cluster.ts';
import type { GrantedServices } from './granted.ts';
import { parseListeners, transformListener } from './listener.ts';
import { edsServiceName, nameOf, ownName, type RawResources, routeConfigurationNames } from './resources.ts';
import { transformRoutes } from './route.ts';
import { webSocketCluster } from './websocket.ts';

export type GrantConfiguration = ReturnType<typeof grantConfiguration>;

/**
 * Transforms the resources from istiod for a grant. The result is sorted so that equal content always has equal bytes.
 */
export function grantConfiguration(raw: RawResources, granted: GrantedServices) {
  const leftOuts = createLeftOutCounter();
  const { grant, trustDomain, clusterDomain, tokenHeader } = granted;
  const transformed = { ...granted, leaveOut: leftOuts.add };
  const reduce = (any: Any | undefined): Any | undefined => {
    if (!any) return undefined;
    const where = any.typeUrl.slice(any.typeUrl.lastIndexOf('.') + 1);
    const { resource, leftOut } = reduceResource(any, { trustDomain, clusterDomain, tokenHeader, grants: [grant] });
    for (const { what } of leftOut) leftOuts.add(what, where);
    return resource;
  };
  const clusters = inOrder(raw.clusters).flatMap(([, any]) => {
    const endpoints = raw.endpoints.get(edsServiceName(any) ?? '');
    return transformCluster(any, endpoints, transformed).flatMap((one) => reduce(one) ?? []);
  });
  const names = new Set(clusters.map((any) => nameOf(any)!));
  const http2 = new Set([...names].filter((name) => names.has(webSocketCluster(name))));
  const found = parseListeners(raw.listeners);
  const listeners = granted.services.flatMap((service) => {
    const listener = reduce(transformListener(service, found, transformed));
    return listener ? [{ service, listener }] : [];
  });
  const asked = new Set(listeners.flatMap(({ listener }) => routeConfigurationNames(listener)));
  const routes = inOrder(raw.routes).flatMap(([name, any]) =>
    asked.has(ownName(grant, name)) ? (reduce(transformRoutes(any, transformed, http2)) ?? []) : [],
  );
  return { grant, listeners, clusters, routes, leftOut: leftOuts.all() };
}

function inOrder(resources: ReadonlyMap<string, Any>): readonly (readonly [string, Any])[] {
  return [...resources].sort(([a], [b]) => (a < b ? -1 : 1));
}

/** How often a part of istiod's resources was withheld from workspaces. */
export interface LeftOutCount {
  /** The part that was left out, as a type URL, a field name or a short reason. */
  readonly what: string;
  /** The kind of resource that it was left out of, such as `Listener`. */
  readonly where: string;
  readonly count: number;
}

/** The maximum number of separate counts, because EnvoyFilters could cause an unlimited number of them. */
const MAX_KINDS = 64;
const OTHERS = 'others';
const MAX_TEXT = 200;

/** Creates a counter that has not counted anything yet. */
export function createLeftOutCounter() {
  const counted = new Map<string, LeftOutCount>();
  return {
    add: (given: string, where: string, count = 1) => {
      const known = counted.has(`${where} ${given.slice(0, MAX_TEXT)}`);
      const what = known || counted.size < MAX_KINDS ? given.slice(0, MAX_TEXT) : OTHERS;
      const key = `${where} ${what}`;
      counted.set(key, { what, where, count: (counted.get(key)?.count ?? 0) + count });
    },
    all: () => [...counted.values()].sort((a, b) => compare(a.where, b.where) || compare(a.what, b.what)),
  };
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
