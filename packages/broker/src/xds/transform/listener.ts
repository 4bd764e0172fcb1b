/** The listener of one granted port: bound to the service's loopback address, made of what istiod has for it. */
import { create } from '@bufbuild/protobuf';
import type { Any } from '@bufbuild/protobuf/wkt';
import { LISTENER, messageOf, messageType, pack } from '@meshpass/envoy';
import type { Granted, GrantedService } from './granted.ts';
import type { LeftOuts } from './left-out.ts';
import { istioMetadata, listenerName, ownName } from './names.ts';
import { chainsOf, managerIn, TCP_PROXY, tcpProxyIn } from './references.ts';
import { clusterOf, read, socketOf } from './resources.ts';
import { ownRoutes } from './route.ts';
import type { Filter, FilterChain, ListenerShape, TcpProxy } from './shapes.ts';

const WHERE = 'Listener';
/** Protocol detection ends here, and the port is taken for TCP: a server may speak first. */
const DETECTION = ['envoy.filters.listener.http_inspector', 'envoy.filters.listener.tls_inspector'];

/** @param listeners all of istiod's. @returns undefined where it has none for the service */
export function transformListener(
  service: GrantedService,
  listeners: readonly ListenerShape[],
  granted: Granted,
  leftOuts: LeftOuts,
): Any | undefined {
  const source = listenerOf(service, listeners);
  const chains = source
    ? chainsOf(source).flatMap((chain) => ownChain(chain, service, granted, leftOuts))
    : service.protocol === 'tcp'
      ? [plainTcp(service, granted.grant)]
      : [];
  if (chains.length === 0) return undefined;
  // One way is left, mostly: then nothing has to be found out about the connection.
  const [only, ...more] = chains;
  const detects = more.length > 0;
  if (!detects) only!.filterChainMatch = undefined;
  const { address, port } = service;
  const isDefault = (chain: FilterChain) => chain.filterChainMatch === undefined && detects;
  const made = create(messageType(LISTENER), {
    name: listenerName(granted.grant, service),
    address: messageOf('envoy.config.core.v3.Address', { socket_address: { address, port_value: port } }),
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
 * Ports with a declared HTTP protocol share the listener of their number on 0.0.0.0; every other has one on the address of its
 * Service in the cluster. A headless Service has none there: its listeners are known by where they lead.
 */
function listenerOf(service: GrantedService, listeners: readonly ListenerShape[]): ListenerShape | undefined {
  const onPort = listeners.filter((one) => socketOf(one)?.port === service.port);
  const at = (address: string) => onPort.find((one) => socketOf(one)?.address === address);
  for (const address of service.clusterIps) {
    const found = at(address);
    if (found) return found;
  }
  if (service.protocol !== 'tcp') return at('0.0.0.0') ?? at('::');
  return onPort.find((one) =>
    chainsOf(one).some(({ filters }) =>
      filters.some(({ configType }) => {
        const proxy = configType.case === 'typedConfig' ? tcpProxyIn(configType.value) : undefined;
        const to = proxy?.clusterSpecifier.case === 'cluster' ? clusterOf(proxy.clusterSpecifier.value) : undefined;
        return to?.host === service.host && to.port === service.port;
      }),
    ),
  );
}

/** @returns none where it leads to what is not granted */
function ownChain(
  chain: FilterChain,
  service: GrantedService,
  granted: Granted,
  leftOuts: LeftOuts,
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

/** Filters of the network before the last are left to the allow list (reduceResource). */
function ownFilter(filter: Filter, service: GrantedService, granted: Granted, leftOuts: LeftOuts): Filter | undefined {
  if (filter.configType.case !== 'typedConfig') return filter;
  const manager = managerIn(filter.configType.value);
  if (manager) {
    const { routeSpecifier } = manager;
    if (routeSpecifier.case === 'rds') {
      const name = ownName(granted.grant, routeSpecifier.value.routeConfigName);
      const rds = { config_source: { ads: {}, resource_api_version: 'V3' }, route_config_name: name };
      manager.routeSpecifier.value = messageOf(RDS, rds) as unknown as typeof routeSpecifier.value;
    } else if (routeSpecifier.case === 'routeConfig') {
      const routes = ownRoutes(routeSpecifier.value, granted, leftOuts);
      if (!routes) return undefined;
    } else return undefined;
    // istiod's names the address of the Service in the cluster.
    manager.statPrefix = listenerName(granted.grant, service);
    // Which request is traced is decided here; what a trace is told of it, by whoever traces.
    if (manager.tracing) manager.tracing.customTags = [];
    return typed(filter, pack(manager));
  }
  const proxy = tcpProxyIn(filter.configType.value);
  if (!proxy) return filter;
  proxy.statPrefix = listenerName(granted.grant, service);
  return ownProxy(proxy, granted, leftOuts) ? typed(filter, pack(proxy)) : undefined;
}

const RDS = 'envoy.extensions.filters.network.http_connection_manager.v3.Rds';

function ownProxy(proxy: TcpProxy, granted: Granted, leftOuts: LeftOuts): boolean {
  const { clusterSpecifier: to } = proxy;
  const names = to.case === 'cluster' ? [to.value] : to.case === 'weightedClusters' ? to.value.clusters : [];
  const clusters = names.map((one) => (typeof one === 'string' ? one : one.name));
  if (clusters.length === 0 || clusters.some((name) => !granted.serviceOf(name))) {
    if (clusters.some((name) => clusterOf(name))) leftOuts.add('connection to a service that is not granted', WHERE);
    return false;
  }
  if (to.case === 'cluster') proxy.clusterSpecifier = { case: 'cluster', value: ownName(granted.grant, to.value) };
  if (to.case === 'weightedClusters') for (const one of to.value.clusters) one.name = ownName(granted.grant, one.name);
  return true;
}

function typed(filter: Filter, value: Any): Filter {
  return { ...filter, configType: { case: 'typedConfig', value } };
}

/** istiod makes no listener for a headless Service without Pods. */
function plainTcp({ host, port }: GrantedService, grant: string): FilterChain {
  const cluster = ownName(grant, `outbound|${port}||${host}`);
  return messageOf('envoy.config.listener.v3.FilterChain', {
    filters: [
      {
        name: 'envoy.filters.network.tcp_proxy',
        typed_config: { '@type': `type.googleapis.com/${TCP_PROXY}`, stat_prefix: cluster, cluster },
      },
    ],
  }) as unknown as FilterChain;
}

/** istiod's, read. */
export function listenersIn(listeners: ReadonlyMap<string, Any>): readonly ListenerShape[] {
  return [...listeners.values()].flatMap((any) => read<ListenerShape>(any) ?? []);
}
