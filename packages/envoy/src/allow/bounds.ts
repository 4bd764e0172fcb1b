/**
 * Bounds for the values of fields. The allow list bounds every value that it accepts, so that no field can cause
 * unlimited work or memory use in Envoy or in the agent. The bounds depend on the type of the field. Fields that need
 * different bounds are listed individually.
 */
import type { DescField } from '@bufbuild/protobuf';
import { memoize } from '@meshpass/identity';

export interface Bounds {
  /** The range of a duration in seconds. A duration of 0 is always allowed, because it disables the feature. */
  readonly seconds: readonly [least: number, most: number];
  /** The maximum length of a string in characters, or of binary data in bytes. */
  readonly text: number;
  /** The maximum number of items in a list, or of entries in a map. */
  readonly items: number;
  /** The largest integer that is allowed. */
  readonly integer: number;
  /** The largest floating-point number that is allowed. */
  readonly double: number;
}

const DAY = 86_400;
/** The default bounds. The limit for text is Istio's limit for regular expressions, which is longer than any name. */
const BY_TYPE: Bounds = { seconds: [0.001, 366 * DAY], text: 1_024, items: 128, integer: 65_536, double: 100 };

/** The bound for numbers that cost nothing even if they are large. Istio uses this value for "no limit". */
const ANY_UINT32 = 4_294_967_295;
/** The maximum number of attempts for a request or a connection. */
const ATTEMPTS = 32;
/** The bounds for intervals after which Envoy repeats work for each cluster or connection. */
const PERIODIC: Partial<Bounds> = { seconds: [0.1, 366 * DAY] };
/**
 * The maximum length of the name of a statistic. Envoy stores the prefix in every statistic, about 250 times for an
 * HTTP stack.
 */
const STAT_NAME = 128;
/** Envoy's default limits for buffers. */
const BUFFER_BYTES = 1_048_576;
const WINDOW_BYTES = 16_777_216;

const CLUSTER = 'envoy.config.cluster.v3.';
const CORE = 'envoy.config.core.v3.';
const LISTENER = 'envoy.config.listener.v3.';
const ROUTE = 'envoy.config.route.v3.';
const MANAGER = 'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager';
const TLS = 'envoy.extensions.transport_sockets.tls.v3.';
const TCP_PROXY = 'envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy';

/** Bounds by the full name of a field, or by `TYPE.*` for all fields of a type. */
export const BOUNDS_BY_FIELD: Readonly<Record<string, Partial<Bounds>>> = {
  // Lists that grow with the number of services in a session, or of routes and identities of a service.
  [`${ROUTE}RouteConfiguration.virtual_hosts`]: { items: 4_096 },
  [`${ROUTE}VirtualHost.routes`]: { items: 4_096 },
  [`${ROUTE}VirtualHost.domains`]: { items: 1_024 },
  [`${TLS}CertificateValidationContext.match_typed_subject_alt_names`]: { items: 1_024 },
  // Each operation that a grant excludes adds a condition.
  [`${ROUTE}RouteMatch.headers`]: { items: 1_024 },
  // Each filter chain is a separate HTTP or TCP stack.
  [`${LISTENER}Listener.filter_chains`]: { items: 16 },
  // Every mirror policy sends an additional copy of each request.
  [`${ROUTE}RouteConfiguration.request_mirror_policies`]: { items: 8 },
  [`${ROUTE}VirtualHost.request_mirror_policies`]: { items: 8 },
  [`${ROUTE}RouteAction.request_mirror_policies`]: { items: 8 },
  // Names of statistics. The name of a cluster contains a grant, and possibly the longest service name.
  [`${CLUSTER}Cluster.alt_stat_name`]: { text: 256 },
  [`${CLUSTER}Cluster.name`]: { text: 512 },
  [`${LISTENER}Listener.stat_prefix`]: { text: STAT_NAME },
  [`${MANAGER}.stat_prefix`]: { text: STAT_NAME },
  [`${TCP_PROXY}.stat_prefix`]: { text: STAT_NAME },
  // Fields that may contain long text.
  [`${CORE}DataSource.inline_string`]: { text: 65_536 },
  [`${CORE}DataSource.inline_bytes`]: { text: 65_536 },
  [`${CORE}HeaderValue.value`]: { text: 16_384 },
  [`${CORE}HeaderValue.raw_value`]: { text: 16_384 },
  'envoy.type.matcher.v3.StringMatcher.*': { text: 8_192 },
  // Intervals between repetitions of the same work.
  [`${CLUSTER}OutlierDetection.interval`]: PERIODIC,
  [`${CORE}KeepaliveSettings.interval`]: PERIODIC,
  [`${CORE}KeepaliveSettings.connection_idle_interval`]: PERIODIC,
  [`${ROUTE}RetryPolicy.num_retries`]: { integer: ATTEMPTS },
  [`${ROUTE}RetryPolicy.host_selection_retry_max_attempts`]: { integer: ATTEMPTS },
  [`${TCP_PROXY}.max_connect_attempts`]: { integer: ATTEMPTS },
  // Sizes of buffers.
  [`${CLUSTER}Cluster.per_connection_buffer_limit_bytes`]: { integer: BUFFER_BYTES },
  [`${LISTENER}Listener.per_connection_buffer_limit_bytes`]: { integer: BUFFER_BYTES },
  [`${ROUTE}VirtualHost.per_request_buffer_limit_bytes`]: { integer: BUFFER_BYTES },
  [`${ROUTE}Route.per_request_buffer_limit_bytes`]: { integer: BUFFER_BYTES },
  [`${ROUTE}RouteConfiguration.max_direct_response_body_size_bytes`]: { integer: BUFFER_BYTES },
  [`${CORE}Http2ProtocolOptions.initial_stream_window_size`]: { integer: WINDOW_BYTES },
  [`${CORE}Http2ProtocolOptions.initial_connection_window_size`]: { integer: WINDOW_BYTES },
  [`${TLS}UpstreamTlsContext.max_session_keys`]: { integer: 16 },
  // A ring entry takes 24 bytes in each of thousands of clusters. Every cluster has a single endpoint, so a larger ring
  // has no benefit. The bound is four times Envoy's default. For a single endpoint, Envoy stores a Maglev table as
  // bits.
  [`${CLUSTER}Cluster.RingHashLbConfig.minimum_ring_size`]: { integer: 4_096 },
  [`${CLUSTER}Cluster.RingHashLbConfig.maximum_ring_size`]: { integer: 65_537 },
  [`${CLUSTER}Cluster.MaglevLbConfig.table_size`]: { integer: 65_537 },
  [`${CLUSTER}Cluster.LeastRequestLbConfig.choice_count`]: { integer: 100 },
  [`${MANAGER}.upgrade_configs`]: { items: 8 },
  // Percentages, thresholds and limits, which cost nothing even if they are large.
  [`${CLUSTER}CircuitBreakers.Thresholds.*`]: { integer: ANY_UINT32 },
  [`${CLUSTER}OutlierDetection.*`]: { integer: ANY_UINT32 },
  [`${CORE}HttpProtocolOptions.max_requests_per_connection`]: { integer: ANY_UINT32 },
  [`${CLUSTER}Cluster.max_requests_per_connection`]: { integer: ANY_UINT32 },
  [`${CORE}Http2ProtocolOptions.max_concurrent_streams`]: { integer: ANY_UINT32 },
  [`${ROUTE}WeightedCluster.total_weight`]: { integer: ANY_UINT32 },
  [`${ROUTE}WeightedCluster.ClusterWeight.weight`]: { integer: ANY_UINT32 },
  [`${TCP_PROXY}.WeightedCluster.ClusterWeight.weight`]: { integer: ANY_UINT32 },
  'envoy.config.endpoint.v3.LbEndpoint.load_balancing_weight': { integer: ANY_UINT32 },
  'envoy.config.endpoint.v3.LocalityLbEndpoints.load_balancing_weight': { integer: ANY_UINT32 },
  'envoy.type.v3.FractionalPercent.numerator': { integer: ANY_UINT32 },
  'envoy.type.v3.Int64Range.*': { integer: Number.MAX_VALUE },
  'envoy.extensions.filters.common.fault.v3.FaultRateLimit.FixedLimit.limit_kbps': { integer: Number.MAX_VALUE },
  'envoy.extensions.filters.http.fault.v3.HTTPFault.max_active_faults': { integer: ANY_UINT32 },
  // This is Envoy's own limit, and also the value that the broker sends.
  [`${CLUSTER}Cluster.PreconnectPolicy.per_upstream_preconnect_ratio`]: { double: 3 },
};

/** Returns the bounds of a field. They are computed only once for each field in the allow list. */
export const boundsOf = memoize(({ parent, name }: DescField): Bounds => {
  const [ofType, ofField] = [BOUNDS_BY_FIELD[`${parent.typeName}.*`], BOUNDS_BY_FIELD[`${parent.typeName}.${name}`]];
  return { ...BY_TYPE, ...ofType, ...ofField };
});

/** Explains why a duration is out of bounds, or returns undefined if it is not. */
export function checkDuration(seconds: bigint, nanos: number, [least, most]: Bounds['seconds']): string | undefined {
  const duration = Number(seconds) + nanos / 1e9;
  const isWithin = duration === 0 || (duration >= least && duration <= most);
  return isWithin ? undefined : `a duration of ${duration} s is not between ${least} s and ${most} s`;
}
