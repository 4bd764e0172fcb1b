/**
 * Builds the listener for a granted port from istiod's listener. The new listener uses the service's loopback address.
 */
import { create } from '@bufbuild/protobuf';
import type { Any } from '@bufbuild/protobuf/wkt';
import { LISTENER, messageFromJson, messageType, pack } from '@meshpass/envoy';
import type { GrantedService, TransformedGrant } from './granted.ts';
import {
  chainsOf,
  istioMetadata,
  listenerAddress,
  listenerName,
  ownName,
  parseClusterName,
  read,
  readHttpConnectionManager,
  readTcpProxy,
  referencedClusters,
  renameClusters,
  TCP_PROXY,
} from './resources.ts';
import { ownRoutes } from './route.ts';
import type { Filter, FilterChain, ListenerShape, TcpProxy } from './shapes.ts';

const WHERE = 'Listener';
/**
 * The filters that detect the protocol. If they time out, the connection is treated as TCP, because the server may be
 * the one to speak first.
 */
const DETECTION = ['envoy.filters.listener.http_inspector', 'envoy.filters.listener.tls_inspector'];

/**
 * Builds the listener for one port of a service.
 * @param listeners all listeners that istiod sent
 * @returns the listener, or undefined if istiod has no listener for the service
 */
export function transformListener(
  service: GrantedService,
  listeners: readonly ListenerShape[],
  granted: TransformedGrant,
): Any | undefined {
  const source = listenerOf(service, listeners);
  const chains = source
    ? chainsOf(source).flatMap((chain) => ownChain(chain, service, granted))
    : service.protocol === 'tcp'
      ? [plainTcp(service, granted.grant)]
      : [];
  if (chains.length === 0) return undefined;
  // Usually, only one filter chain remains, so there is no need to detect the protocol.
  const [only, ...more] = chains;
  const detects = more.length > 0;
  if (!detects) only!.filterChainMatch = undefined;
  const { address, port } = service;
  const isDefault = (chain: FilterChain) => chain.filterChainMatch === undefined && detects;
  const made = create(messageType(LISTENER), {
    name: listenerName(granted.grant, service),
    address: messageFromJson('envoy.config.core.v3.Address', { socket_address: { address, port_value: port } }),
    filterChains: chains.filter((chain) => !isDefault(chain)),
    defaultFilterChain: chains.find(isDefault),
    trafficDirection: OUTBOUND,
    ...(detects && {
      listenerFilters: source!.listenerFilters.filter(({ name }) => DETECTION.includes(name)),
      listenerFiltersTimeout: source!.listenerFiltersTimeout,
      continueOnListenerFiltersTimeout: true,
    }),
    ...(source?.perConnectionBufferLimitBytes !== undefined && {
      perConnectionBufferLimitBytes: source.perConnectionBufferLimitBytes,
    }),
  } as Record<string, unknown>);
  return pack(made);
}

const OUTBOUND = 2;

/**
 * Finds istiod's listener for a port. All ports that have the same number and are declared as HTTP share a listener on
 * 0.0.0.0. Every other port has a listener on the cluster address of its Service. Headless Services do not have such an
 * address, so their listeners are identified by their targets.
 */
function listenerOf(service: GrantedService, listeners: readonly ListenerShape[]): ListenerShape | undefined {
  const onPort = listeners.filter((one) => listenerAddress(one)?.port === service.port);
  const at = (address: string) => onPort.find((one) => listenerAddress(one)?.address === address);
  for (const address of service.clusterIps) {
    const found = at(address);
    if (found) return found;
  }
  if (service.protocol !== 'tcp') return at('0.0.0.0') ?? at('::');
  return onPort.find((one) =>
    chainsOf(one).some(({ filters }) =>
      filters.some(({ configType }) => {
        const proxy = configType.case === 'typedConfig' ? readTcpProxy(configType.value) : undefined;
        const to =
          proxy?.clusterSpecifier.case === 'cluster' ? parseClusterName(proxy.clusterSpecifier.value) : undefined;
        return to?.host === service.host && to.port === service.port;
      }),
    ),
  );
}

/**
 * Rewrites a filter chain for use in a workspace.
 * @returns a list with the filter chain, or an empty list if its target is not granted
 */
function ownChain(chain: FilterChain, service: GrantedService, granted: TransformedGrant): readonly FilterChain[] {
  const filters = chain.filters.map((filter) => ownFilter(filter, service, granted));
  const ends = filters.at(-1);
  if (!ends) return [];
  return [
    {
      ...chain,
      metadata: istioMetadata(chain.metadata),
      filters: filters.filter((one) => one !== undefined),
    },
  ];
}

/**
 * Rewrites a network filter, or returns undefined if its target is not granted. Filters before the last one in a chain
 * are covered by the allow list (`reduceResource`).
 */
function ownFilter(filter: Filter, service: GrantedService, granted: TransformedGrant): Filter | undefined {
  if (filter.configType.case !== 'typedConfig') return filter;
  const manager = readHttpConnectionManager(filter.configType.value);
  if (manager) {
    const { routeSpecifier } = manager;
    if (routeSpecifier.case === 'rds') {
      const name = ownName(granted.grant, routeSpecifier.value.routeConfigName);
      const rds = { config_source: { ads: {}, resource_api_version: 'V3' }, route_config_name: name };
      manager.routeSpecifier.value = messageFromJson(RDS, rds) as unknown as typeof routeSpecifier.value;
    } else if (routeSpecifier.case === 'routeConfig') {
      const routes = ownRoutes(routeSpecifier.value, granted);
      if (!routes) return undefined;
    } else return undefined;
    // The prefix is replaced because the one from istiod contains the Service's cluster address.
    manager.statPrefix = listenerName(granted.grant, service);
    // Istio's configuration determines which requests are traced, but the tags are up to the component that does the
    // tracing.
    if (manager.tracing) manager.tracing.customTags = [];
    return typed(filter, pack(manager));
  }
  const proxy = readTcpProxy(filter.configType.value);
  if (!proxy) return filter;
  proxy.statPrefix = listenerName(granted.grant, service);
  return ownProxy(proxy, granted) ? typed(filter, pack(proxy)) : undefined;
}

const RDS = 'envoy.extensions.filters.network.http_connection_manager.v3.Rds';

function ownProxy(proxy: TcpProxy, granted: TransformedGrant): boolean {
  const clusters = referencedClusters(proxy);
  if (clusters.length === 0 || clusters.some((name) => !granted.serviceOf(name))) {
    if (clusters.some((name) => parseClusterName(name)))
      granted.leaveOut('connection to a service that is not granted', WHERE);
    return false;
  }
  renameClusters(proxy, (name) => ownName(granted.grant, name));
  return true;
}

function typed(filter: Filter, value: Any): Filter {
  return { ...filter, configType: { case: 'typedConfig', value } };
}

/**
 * Builds a TCP filter chain for a headless Service without any Pods, because istiod has no listener for such a Service.
 */
function plainTcp(service: GrantedService, grant: string): FilterChain {
  const cluster = ownName(grant, `outbound|${service.port}||${service.host}`);
  return messageFromJson('envoy.config.listener.v3.FilterChain', {
    filters: [
      {
        name: 'envoy.filters.network.tcp_proxy',
        typed_config: {
          '@type': `type.googleapis.com/${TCP_PROXY}`,
          stat_prefix: listenerName(grant, service),
          cluster,
        },
      },
    ],
  }) as unknown as FilterChain;
}

/** Parses the listeners from istiod and skips any that are invalid. */
export function parseListeners(listeners: ReadonlyMap<string, Any>): readonly ListenerShape[] {
  return [...listeners.values()].flatMap((any) => read<ListenerShape>(any) ?? []);
}
