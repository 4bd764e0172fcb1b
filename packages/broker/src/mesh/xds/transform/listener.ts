/** Builds the listener for a granted port on the service's loopback address, based on istiod's listener. */
import { create } from '@bufbuild/protobuf';
import type { Any } from '@bufbuild/protobuf/wkt';
import { LISTENER, messageFromJson, messageType, pack } from '@meshpass/envoy';
import type { GrantedService, GrantedServices } from './granted.ts';
import type { LeftOutCounter } from './left-out.ts';
import { istioMetadata, listenerName, ownName } from './names.ts';
import {
  chainsOf,
  readHttpConnectionManager,
  readTcpProxy,
  referencedClusters,
  renameClusters,
  TCP_PROXY,
} from './references.ts';
import { listenerAddress, parseClusterName, read } from './resources.ts';
import { ownRoutes } from './route.ts';
import type { Filter, FilterChain, ListenerShape, TcpProxy } from './shapes.ts';

const WHERE = 'Listener';
/**
 * Protocol detection filters. If they time out, the connection is treated as TCP, because the server may speak first.
 */
const DETECTION = ['envoy.filters.listener.http_inspector', 'envoy.filters.listener.tls_inspector'];

/**
 * Builds the listener.
 * @param listeners all listeners from istiod
 * @returns the listener, or undefined if istiod does not have one for the service
 */
export function transformListener(
  service: GrantedService,
  listeners: readonly ListenerShape[],
  granted: GrantedServices,
  leftOuts: LeftOutCounter,
): Any | undefined {
  const source = listenerOf(service, listeners);
  const chains = source
    ? chainsOf(source).flatMap((chain) => ownChain(chain, service, granted, leftOuts))
    : service.protocol === 'tcp'
      ? [plainTcp(service, granted.grant)]
      : [];
  if (chains.length === 0) return undefined;
  // Usually only one filter chain remains. Protocol detection is then unnecessary.
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
 * Finds istiod's listener for a port. All ports with the same number and a declared HTTP protocol share a listener on
 * 0.0.0.0. Every other port has a listener on the Service's cluster address. A headless Service does not have such an
 * address, so its listener is identified by its target.
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
 * Rewrites a filter chain.
 * @returns the filter chain, or an empty list if its target is not granted
 */
function ownChain(
  chain: FilterChain,
  service: GrantedService,
  granted: GrantedServices,
  leftOuts: LeftOutCounter,
): readonly FilterChain[] {
  const filters = chain.filters.map((filter) => ownFilter(filter, service, granted, leftOuts));
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

/** Rewrites a network filter. The allow list (reduceResource) covers all filters before the last one. */
function ownFilter(
  filter: Filter,
  service: GrantedService,
  granted: GrantedServices,
  leftOuts: LeftOutCounter,
): Filter | undefined {
  if (filter.configType.case !== 'typedConfig') return filter;
  const manager = readHttpConnectionManager(filter.configType.value);
  if (manager) {
    const { routeSpecifier } = manager;
    if (routeSpecifier.case === 'rds') {
      const name = ownName(granted.grant, routeSpecifier.value.routeConfigName);
      const rds = { config_source: { ads: {}, resource_api_version: 'V3' }, route_config_name: name };
      manager.routeSpecifier.value = messageFromJson(RDS, rds) as unknown as typeof routeSpecifier.value;
    } else if (routeSpecifier.case === 'routeConfig') {
      const routes = ownRoutes(routeSpecifier.value, granted, leftOuts);
      if (!routes) return undefined;
    } else return undefined;
    // istiod's prefix contains the Service's cluster address.
    manager.statPrefix = listenerName(granted.grant, service);
    // Istio's configuration determines which requests are traced. The component that traces them chooses the tags.
    if (manager.tracing) manager.tracing.customTags = [];
    return typed(filter, pack(manager));
  }
  const proxy = readTcpProxy(filter.configType.value);
  if (!proxy) return filter;
  proxy.statPrefix = listenerName(granted.grant, service);
  return ownProxy(proxy, granted, leftOuts) ? typed(filter, pack(proxy)) : undefined;
}

const RDS = 'envoy.extensions.filters.network.http_connection_manager.v3.Rds';

function ownProxy(proxy: TcpProxy, granted: GrantedServices, leftOuts: LeftOutCounter): boolean {
  const clusters = referencedClusters(proxy);
  if (clusters.length === 0 || clusters.some((name) => !granted.serviceOf(name))) {
    if (clusters.some((name) => parseClusterName(name)))
      leftOuts.add('connection to a service that is not granted', WHERE);
    return false;
  }
  renameClusters(proxy, (name) => ownName(granted.grant, name));
  return true;
}

function typed(filter: Filter, value: Any): Filter {
  return { ...filter, configType: { case: 'typedConfig', value } };
}

/** Builds a TCP filter chain for a headless Service without Pods. istiod does not have a listener for it. */
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

/** Parses istiod's listeners. */
export function parseListeners(listeners: ReadonlyMap<string, Any>): readonly ListenerShape[] {
  return [...listeners.values()].flatMap((any) => read<ListenerShape>(any) ?? []);
}
