/** The resources that istiod sends for a grant: their names, the references in them, and their names in a workspace. */
import type { Message } from '@bufbuild/protobuf';
import type { Any } from '@bufbuild/protobuf/wkt';
import { messageFromJson, unpack } from '@meshpass/envoy';
import type {
  ClusterShape,
  FilterChain,
  HttpConnectionManager,
  ListenerShape,
  Metadata,
  TcpProxy,
  ToClusters,
} from './shapes.ts';

/**
 * A complete state from istiod, keyed by the names that istiod uses. The endpoints of every EDS cluster and the routes
 * of every listener are included.
 */
export interface RawResources {
  readonly clusters: ReadonlyMap<string, Any>;
  readonly listeners: ReadonlyMap<string, Any>;
  readonly routes: ReadonlyMap<string, Any>;
  readonly endpoints: ReadonlyMap<string, Any>;
}

const OUTBOUND = /^outbound\|([1-9][0-9]{0,4})\|([A-Za-z0-9._-]{0,63})\|([a-z0-9.-]{1,253})$/;

/**
 * Parses a cluster name of the form `outbound|PORT|SUBSET|HOST`. The subset is empty if the cluster contains all
 * workloads. Returns undefined if the target is not a Service (`BlackHoleCluster`, `agent`, `inbound|...`).
 */
export function parseClusterName(name: string) {
  const [, port, subset, host] = OUTBOUND.exec(name) ?? [];
  return port === undefined ? undefined : { port: Number(port), subset: subset!, host: host! };
}

/** Returns the name of a resource of any of the four types, or undefined if the resource cannot be parsed. */
export function nameOf(any: Any): string | undefined {
  const message = read<Message & { readonly name?: string; readonly clusterName?: string }>(any);
  return message?.clusterName || message?.name || undefined;
}

/** Returns the address and port of a listener, or undefined if it does not listen on a socket address. */
export function listenerAddress(listener: ListenerShape | undefined): { address: string; port: number } | undefined {
  const one = listener?.address?.address;
  if (one?.case !== 'socketAddress' || one.value.portSpecifier.case !== 'portValue') return undefined;
  return { address: one.value.address, port: one.value.portSpecifier.value };
}

/** Unpacks a message. Returns undefined if Meshpass does not know the message type or the message cannot be parsed. */
export function read<T>(any: Any): T | undefined {
  try {
    return unpack(any) as T | undefined;
  } catch {
    return undefined;
  }
}

// The references in a resource determine which other resources to subscribe to.

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

// In a workspace, the resources of each grant have their own names.

/**
 * Prefixes a resource name with the name of the grant.
 * @param name the name that istiod uses
 * @example ownName('dev', 'outbound|80||web.shop.svc.cluster.local') // => 'dev/outbound|80||web...'
 */
export function ownName(grant: string, name: string): string {
  return `${grant}/${name}`;
}

/** Returns the name of the listener for a service's port. The parts of the listener are also given this name. */
export function listenerName(grant: string, { address, port }: { readonly address: string; readonly port: number }) {
  return ownName(grant, `${address}_${port}`);
}

/** Returns the name of the listener in the agent that connects to the edge with the grant's certificate. */
export function tunnelName(grant: string): string {
  return `tunnel/${grant}`;
}

/**
 * Removes all metadata except for the part that identifies the Istio object that a resource was created from. Metadata
 * added by an EnvoyFilter must not leave the cluster.
 */
export function istioMetadata(metadata: Metadata | undefined): Metadata | undefined {
  const { config } = (metadata?.filterMetadata.istio ?? {}) as { readonly config?: unknown };
  if (typeof config !== 'string') return undefined;
  return messageFromJson('envoy.config.core.v3.Metadata', { filter_metadata: { istio: { config } } }) as Metadata;
}
