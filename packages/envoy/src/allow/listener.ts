/** The rules for listeners. They are TCP sockets on service addresses, with filters for HTTP and TCP. */
import type { ReflectMessage } from '@bufbuild/protobuf/reflect';
import { CONNECTION_MANAGER, HTTP_FILTERS, ROUTER } from './http.ts';
import { clusterName, filterName, ownName } from './names.ts';
import { type AllowList, type Check, extension, items, part, rule, scalar } from './rule.ts';
import { adsSource, serviceAddress } from './sources.ts';

const TCP_PROXY = 'envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy';
const HTTP_INSPECTOR = 'envoy.extensions.filters.listener.http_inspector.v3.HttpInspector';
const TLS_INSPECTOR = 'envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector';
const UUID = 'envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig';

const routeName: Check<string> = (name, context) => {
  context.refer('route', name);
  return ownName(name, context);
};
/** Accepts upgrades to WebSocket only. CONNECT would turn the listener into an open proxy. */
const upgrade: Check<string> = (type) =>
  type.toLowerCase() === 'websocket' ? undefined : 'only upgrades to WebSocket are accepted';

function checkListener(listener: ReflectMessage): string | undefined {
  const internal = part(listener, 'internal_listener') !== undefined;
  if (internal === (part(listener, 'address') !== undefined))
    return 'a listener must either have an address or be internal';
  const served = items(listener, 'filter_chains').length > 0 || part(listener, 'default_filter_chain') !== undefined;
  return served ? undefined : 'a listener requires a filter chain';
}

function checkChain(chain: ReflectMessage): string | undefined {
  const filters = items(chain, 'filters');
  return filters.length === 1
    ? undefined
    : `a filter chain must have exactly one HTTP or TCP filter, but has ${filters.length}`;
}

function checkManager(manager: ReflectMessage): string | undefined {
  const types = items(manager, 'http_filters').map((filter) => typeOf(filter));
  const isLast = types.at(-1) === ROUTER && types.indexOf(ROUTER) === types.length - 1;
  return isLast ? undefined : 'the last HTTP filter must be the router';
}

/** Returns the type of a filter's `typed_config`, or an empty string if it has none. */
function typeOf(filter: ReflectMessage): string {
  const config = part(filter, 'typed_config');
  return config
    ? scalar<string>(config, 'type_url').slice(scalar<string>(config, 'type_url').lastIndexOf('/') + 1)
    : '';
}

const LISTENER_V3 = 'envoy.config.listener.v3.';
const MANAGER = `${CONNECTION_MANAGER}.`;
const MANAGER_V3 = CONNECTION_MANAGER.slice(0, CONNECTION_MANAGER.lastIndexOf('.') + 1);

export const LISTENER_TYPES: AllowList = {
  [`${LISTENER_V3}Listener`]: {
    set: ['name'],
    free:
      'stat_prefix per_connection_buffer_limit_bytes metadata drain_type listener_filters_timeout ' +
      'continue_on_listener_filters_timeout traffic_direction max_connections_to_accept_per_socket_event',
    fields: {
      name: rule(ownName, { needed: true }),
      address: rule(serviceAddress, { leaf: true, needed: true }),
      internal_listener: { needed: true },
      filter_chains: { needed: true },
      default_filter_chain: { needed: true },
      listener_filters: { each: true },
    },
    check: checkListener,
  },
  [`${LISTENER_V3}Listener.InternalListenerConfig`]: { whole: true },
  [`${LISTENER_V3}ListenerFilter`]: extension([HTTP_INSPECTOR, TLS_INSPECTOR], rule(filterName)),
  [HTTP_INSPECTOR]: {},
  [TLS_INSPECTOR]: {},
  [`${LISTENER_V3}FilterChain`]: {
    whole: true,
    free: 'name filter_chain_match transport_socket_connect_timeout metadata',
    check: checkChain,
    fields: { filters: { each: true } },
  },
  [`${LISTENER_V3}FilterChainMatch`]: { whole: true, free: 'transport_protocol application_protocols server_names' },
  [`${LISTENER_V3}Filter`]: extension([CONNECTION_MANAGER, TCP_PROXY], rule(filterName)),
  [TCP_PROXY]: {
    oneOf: ['cluster_specifier'],
    free: 'stat_prefix idle_timeout max_connect_attempts max_downstream_connection_duration',
    fields: {
      cluster: rule(clusterName, { needed: true }),
      weighted_clusters: { needed: true },
      hash_policy: { each: true },
    },
  },
  [`${TCP_PROXY}.WeightedCluster`]: { whole: true, free: 'clusters' },
  [`${TCP_PROXY}.WeightedCluster.ClusterWeight`]: {
    whole: true,
    set: ['name'],
    free: 'weight',
    fields: { name: rule(clusterName) },
  },
  'envoy.type.v3.HashPolicy': { whole: true, oneOf: ['policy_specifier'], free: 'source_ip' },
  'envoy.type.v3.HashPolicy.SourceIp': {},

  [CONNECTION_MANAGER]: {
    oneOf: ['route_specifier'],
    free:
      'codec_type stat_prefix tracing common_http_protocol_options http_protocol_options http2_protocol_options ' +
      'server_name server_header_transformation max_request_headers_kb ' +
      'stream_idle_timeout request_timeout request_headers_timeout drain_timeout delayed_close_timeout ' +
      'use_remote_address xff_num_trusted_hops skip_xff_append via generate_request_id preserve_external_request_id ' +
      'always_set_request_id_in_response forward_client_cert_details proxy_100_continue normalize_path merge_slashes ' +
      'path_with_escaped_slashes_action request_id_extension strip_matching_host_port strip_any_host_port ' +
      'strip_trailing_host_dot stream_error_on_invalid_http_message',
    fields: {
      rds: { needed: true },
      route_config: { needed: true },
      http_filters: { each: true },
      upgrade_configs: { each: true },
    },
    check: checkManager,
  },
  [`${MANAGER_V3}Rds`]: {
    whole: true,
    set: ['config_source', 'route_config_name'],
    fields: { config_source: rule(adsSource, { leaf: true }), route_config_name: rule(routeName) },
  },
  [`${MANAGER}Tracing`]: { free: 'client_sampling random_sampling overall_sampling max_path_tag_length provider' },
  // All tracers are rejected, because they connect to hosts of their own. They are listed here so that a refusal
  // includes the tracer type.
  'envoy.config.trace.v3.Tracing.Http': extension([]),
  [`${MANAGER}UpgradeConfig`]: {
    whole: true,
    set: ['upgrade_type'],
    free: 'enabled',
    fields: { upgrade_type: rule(upgrade) },
  },
  [`${MANAGER_V3}HttpFilter`]: {
    ...extension(HTTP_FILTERS, rule(filterName)),
    free: 'is_optional disabled',
  },
  [`${MANAGER_V3}RequestIDExtension`]: { whole: true, fields: { typed_config: { any: [UUID] } } },
  [UUID]: { free: 'pack_trace_reason use_request_id_for_trace_sampling' },
};
