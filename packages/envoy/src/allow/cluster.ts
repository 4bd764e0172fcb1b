/** The rules for clusters. A cluster can only reach services through the tunnel. */
import type { ReflectMessage } from '@bufbuild/protobuf/reflect';
import { HTTP_PROTOCOL_OPTIONS, metadataKey, ownName, protocolOptionsKey, quoteUntrusted } from './names.ts';
import { type AllowList, type Check, type Context, items, part, rule, scalar } from './rule.ts';
import { internalAddress } from './sources.ts';
import { clusterGrant } from './tls.ts';

/** ROUND_ROBIN, LEAST_REQUEST, RING_HASH, RANDOM and MAGLEV (envoy.config.cluster.v3.Cluster.LbPolicy). */
const LB_POLICIES = [0, 1, 2, 3, 5];
const STATIC = 0;
const TLS_MATCH = 'envoy.transport_socket_match';

const discoveryType: Check<number> = (type) =>
  type === STATIC ? undefined : 'clusters that look up or learn addresses are not accepted';
const lbPolicy: Check<number> = (policy) =>
  LB_POLICIES.includes(policy) ? undefined : 'the load balancing policy is not accepted';

function checkCluster(cluster: ReflectMessage, context: Context): string | undefined {
  const assignment = part(cluster, 'load_assignment');
  const localities = assignment ? items(assignment, 'endpoints') : [];
  const [endpoint, ...more] = localities.flatMap((locality) => items(locality, 'lb_endpoints'));
  if (more.length > 0) return 'a cluster must have exactly one endpoint, its tunnel';
  if (!endpoint || !context.expected) return undefined;
  const listener = listenerOf(endpoint);
  if (listener === `tunnel/${clusterGrant(context)}`)
    return alwaysTls(cluster, endpoint) ? undefined : 'a cluster that may connect without TLS is not accepted';
  context.refer('internal listener', listener);
  const own = ownName(listener, context);
  return (
    own && `endpoint ${quoteUntrusted(listener)} is neither the tunnel of the cluster's grant nor an internal listener`
  );
}

function listenerOf(endpoint: ReflectMessage): string {
  const address = part(endpoint, 'endpoint') && part(part(endpoint, 'endpoint')!, 'address');
  const internal = address && part(address, 'envoy_internal_address');
  return internal ? scalar<string>(internal, 'server_listener_name') : '';
}

/**
 * Whether Envoy always uses TLS when it connects to an endpoint. All accepted transport sockets use TLS, so it is
 * enough that one of them applies: either that of the cluster, or the first one that matches the endpoint.
 */
function alwaysTls(cluster: ReflectMessage, endpoint: ReflectMessage): boolean {
  if (part(cluster, 'transport_socket')) return true;
  const labels = metadataOf(endpoint)[TLS_MATCH] ?? {};
  return items(cluster, 'transport_socket_matches').some((match) => {
    const criteria = (match.message as { match?: Labels }).match ?? {};
    const wanted = Object.entries(criteria);
    return (
      part(match, 'transport_socket') &&
      wanted.every(([key, value]) => typeof value === 'string' && labels[key] === value)
    );
  });
}

type Labels = Readonly<Record<string, unknown>>;

function metadataOf(endpoint: ReflectMessage): Readonly<Record<string, Labels>> {
  return (
    (endpoint.message as { metadata?: { filterMetadata?: Record<string, Labels> } }).metadata?.filterMetadata ?? {}
  );
}

const CLUSTER_V3 = 'envoy.config.cluster.v3.';
const HTTP_UPSTREAM = `${HTTP_PROTOCOL_OPTIONS}.`;
const PROTOCOLS = 'http_protocol_options http2_protocol_options';

export const CLUSTER_TYPES: AllowList = {
  [`${CLUSTER_V3}Cluster`]: {
    set: ['name'],
    free:
      'alt_stat_name connect_timeout per_connection_buffer_limit_bytes max_requests_per_connection circuit_breakers ' +
      'outlier_detection common_lb_config ring_hash_lb_config maglev_lb_config least_request_lb_config ' +
      'round_robin_lb_config metadata upstream_connection_options connection_pool_per_downstream_connection ' +
      'track_cluster_stats preconnect_policy',
    fields: {
      name: rule(ownName, { needed: true }),
      type: rule(discoveryType, { needed: true }),
      lb_policy: rule(lbPolicy),
      load_assignment: { needed: true },
      transport_socket: { needed: true },
      transport_socket_matches: { each: true },
      filters: { each: true },
      typed_extension_protocol_options: { keys: protocolOptionsKey, each: true, any: [HTTP_PROTOCOL_OPTIONS] },
    },
    check: checkCluster,
  },
  // All filters are rejected. They are listed here so that a refusal includes the filter type.
  [`${CLUSTER_V3}Filter`]: { whole: true, free: 'name', fields: { typed_config: { any: [] } } },
  [`${CLUSTER_V3}Cluster.TransportSocketMatch`]: { whole: true, free: 'name match transport_socket' },
  [`${CLUSTER_V3}Cluster.CommonLbConfig`]: {
    free: 'healthy_panic_threshold zone_aware_lb_config locality_weighted_lb_config update_merge_window close_connections_on_host_set_change',
  },
  [`${CLUSTER_V3}Cluster.CommonLbConfig.ZoneAwareLbConfig`]: {
    free: 'routing_enabled min_cluster_size fail_traffic_on_panic',
  },
  [`${CLUSTER_V3}Cluster.CommonLbConfig.LocalityWeightedLbConfig`]: {},
  [`${CLUSTER_V3}Cluster.RingHashLbConfig`]: { free: 'hash_function minimum_ring_size maximum_ring_size' },
  [`${CLUSTER_V3}Cluster.MaglevLbConfig`]: { free: 'table_size' },
  [`${CLUSTER_V3}Cluster.LeastRequestLbConfig`]: { free: 'slow_start_config choice_count' },
  [`${CLUSTER_V3}Cluster.RoundRobinLbConfig`]: { free: 'slow_start_config' },
  [`${CLUSTER_V3}Cluster.SlowStartConfig`]: { free: 'slow_start_window min_weight_percent' },
  [`${CLUSTER_V3}Cluster.PreconnectPolicy`]: { free: 'per_upstream_preconnect_ratio' },
  [`${CLUSTER_V3}CircuitBreakers`]: { fields: { thresholds: { each: true } } },
  [`${CLUSTER_V3}CircuitBreakers.Thresholds`]: {
    free: 'priority max_connections max_pending_requests max_requests max_retries retry_budget track_remaining max_connection_pools',
  },
  [`${CLUSTER_V3}CircuitBreakers.Thresholds.RetryBudget`]: { free: 'budget_percent min_retry_concurrency' },
  [`${CLUSTER_V3}OutlierDetection`]: {
    free:
      'consecutive_5xx interval base_ejection_time max_ejection_percent enforcing_consecutive_5xx enforcing_success_rate ' +
      'success_rate_minimum_hosts success_rate_request_volume success_rate_stdev_factor consecutive_gateway_failure ' +
      'enforcing_consecutive_gateway_failure split_external_local_origin_errors consecutive_local_origin_failure ' +
      'enforcing_consecutive_local_origin_failure enforcing_local_origin_success_rate failure_percentage_threshold ' +
      'enforcing_failure_percentage enforcing_failure_percentage_local_origin failure_percentage_minimum_hosts ' +
      'failure_percentage_request_volume max_ejection_time max_ejection_time_jitter always_eject_one_host',
  },
  [`${CLUSTER_V3}UpstreamConnectionOptions`]: { free: 'tcp_keepalive' },
  [`${CLUSTER_V3}TrackClusterStats`]: { free: 'timeout_budgets request_response_sizes per_endpoint_stats' },
  'envoy.config.core.v3.TcpKeepalive': { free: 'keepalive_probes keepalive_time keepalive_interval' },

  'envoy.config.endpoint.v3.ClusterLoadAssignment': { whole: true, free: 'cluster_name endpoints' },
  'envoy.config.endpoint.v3.LocalityLbEndpoints': {
    whole: true,
    free: 'locality lb_endpoints priority load_balancing_weight metadata',
  },
  'envoy.config.endpoint.v3.LbEndpoint': {
    whole: true,
    oneOf: ['host_identifier'],
    free: 'endpoint health_status load_balancing_weight metadata',
  },
  'envoy.config.endpoint.v3.Endpoint': { whole: true, fields: { address: rule(internalAddress, { leaf: true }) } },
  'envoy.config.core.v3.Locality': { free: 'region zone sub_zone' },
  'envoy.config.core.v3.Metadata': { fields: { filter_metadata: { keys: metadataKey, each: true } } },

  [HTTP_PROTOCOL_OPTIONS]: {
    oneOf: ['upstream_protocol_options'],
    free: 'common_http_protocol_options explicit_http_config use_downstream_protocol_config auto_config',
  },
  [`${HTTP_UPSTREAM}ExplicitHttpConfig`]: { oneOf: ['protocol_config'], free: PROTOCOLS },
  [`${HTTP_UPSTREAM}UseDownstreamHttpConfig`]: { free: PROTOCOLS },
  [`${HTTP_UPSTREAM}AutoHttpConfig`]: { free: PROTOCOLS },
  'envoy.config.core.v3.HttpProtocolOptions': {
    free:
      'idle_timeout max_connection_duration max_headers_count max_response_headers_kb max_stream_duration ' +
      'headers_with_underscores_action max_requests_per_connection',
  },
  'envoy.config.core.v3.Http1ProtocolOptions': {
    free: 'accept_http_10 header_key_format enable_trailers override_stream_error_on_invalid_http_message',
  },
  'envoy.config.core.v3.Http1ProtocolOptions.HeaderKeyFormat': { oneOf: ['header_format'], free: 'proper_case_words' },
  'envoy.config.core.v3.Http1ProtocolOptions.HeaderKeyFormat.ProperCaseWords': {},
  'envoy.config.core.v3.Http2ProtocolOptions': {
    free:
      'max_concurrent_streams initial_stream_window_size initial_connection_window_size allow_connect ' +
      'connection_keepalive override_stream_error_on_invalid_http_message',
  },
  'envoy.config.core.v3.KeepaliveSettings': { free: 'interval timeout interval_jitter connection_idle_interval' },
};
