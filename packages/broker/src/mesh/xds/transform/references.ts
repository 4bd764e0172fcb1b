/** Reads the references in istiod's resources. They determine which other resources to subscribe to. */
import type { Any } from '@bufbuild/protobuf/wkt';
import { parseClusterName, read } from './resources.ts';
import type {
  ClusterShape,
  FilterChain,
  HttpConnectionManager,
  ListenerShape,
  TcpProxy,
  ToClusters,
} from './shapes.ts';

export const HTTP_CONNECTION_MANAGER =
  'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager';
export const TCP_PROXY = 'envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy';

/**
 * Returns the name under which a cluster's endpoints are available through EDS, or undefined if the cluster does not
 * use EDS.
 */
export function edsServiceName(any: Any): string | undefined {
  const cluster = read<ClusterShape>(any);
  if (!cluster?.edsClusterConfig) return undefined;
  const name = cluster.edsClusterConfig.serviceName || cluster.name;
  return parseClusterName(name) && name;
}

/** Lists the names of the route configurations that a listener's HTTP connection managers reference. */
export function routeConfigurationNames(any: Any): readonly string[] {
  const listener = read<ListenerShape>(any);
  return chainsOf(listener).flatMap(({ filters }) =>
    filters.flatMap(({ configType }) => {
      if (configType.case !== 'typedConfig') return [];
      const manager = readHttpConnectionManager(configType.value);
      return manager?.routeSpecifier.case === 'rds' ? [manager.routeSpecifier.value.routeConfigName] : [];
    }),
  );
}

/** Lists all filter chains of a listener, including the default filter chain. */
export function chainsOf(listener: ListenerShape | undefined): readonly FilterChain[] {
  if (!listener) return [];
  return [...listener.filterChains, ...(listener.defaultFilterChain ? [listener.defaultFilterChain] : [])];
}

/** Unpacks an HTTP connection manager. Returns undefined for any other filter. */
export function readHttpConnectionManager(any: Any): HttpConnectionManager | undefined {
  return any.typeUrl.endsWith(`/${HTTP_CONNECTION_MANAGER}`) ? (read(any) as HttpConnectionManager) : undefined;
}

/** Unpacks a TCP proxy. Returns undefined for any other filter. */
export function readTcpProxy(any: Any): TcpProxy | undefined {
  return any.typeUrl.endsWith(`/${TCP_PROXY}`) ? (read(any) as unknown as TcpProxy) : undefined;
}

/**
 * Lists the names of the clusters that a message references. If the cluster depends on the request, its name is an
 * empty string.
 */
export function referencedClusters({ clusterSpecifier: to }: ToClusters): readonly string[] {
  if (to.case === 'cluster') return [to.value];
  return to.case === 'weightedClusters' ? to.value.clusters.map(({ name }) => name) : [''];
}

/** Renames all clusters that a message references, modifying it in place. */
export function renameClusters(message: ToClusters, rename: (name: string) => string): void {
  const { clusterSpecifier: to } = message;
  if (to.case === 'cluster') to.value = rename(to.value);
  if (to.case === 'weightedClusters') for (const one of to.value.clusters) one.name = rename(one.name);
}
