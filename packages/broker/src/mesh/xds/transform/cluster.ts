/**
 * Transforms a cluster from istiod into one that uses the tunnel. It has no network address, uses TLS with the
 * identities that istiod allows, and speaks HTTP/2 inside.
 */
import { create } from '@bufbuild/protobuf';
import type { Any } from '@bufbuild/protobuf/wkt';
import { AGENT_CONFIG_SOURCE, CLUSTER, messageFromJson, messageType, pack, unpack } from '@meshpass/envoy';
import { parseSpiffe } from '@meshpass/identity';
import type { GrantedService, GrantedServices } from './granted.ts';
import type { LeftOutCounter } from './left-out.ts';
import { istioMetadata, ownName, tunnelName } from './names.ts';
import { parseClusterName, read } from './resources.ts';
import type {
  ClusterLoadAssignment,
  ClusterShape,
  CommonHttpOptions,
  HttpProtocolOptions,
  UpstreamTls,
} from './shapes.ts';
import { webSocketCluster } from './websocket.ts';

const HTTP_OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';
const COMMON_OPTIONS = 'envoy.config.core.v3.HttpProtocolOptions';
const TLS = 'envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext';
const MATCH = { 'envoy.transport_socket_match': { tlsMode: 'istio' } };
const CLUSTER_PROVIDED = 6;
const ROUND_ROBIN = 0;
/** Value that istiod sets if no limit is configured. */
const NO_LIMIT = 4_294_967_295;
/**
 * Maximum number of requests per connection that more than one program shares. A sidecar closes an HTTP/2 connection
 * and fails all its requests if most of the first 500 requests were reset early (Envoy's
 * `overload.premature_reset_total_stream_count`), or if there were more than 1,000 resets plus 33 per second (nghttp2's
 * `stream_reset_rate_limit`). Resets by one program must not fail the requests of another one, so a connection is
 * drained before it reaches that number. The highest safe value is 249, because 250 resets are enough to close the
 * connection.
 */
export const REQUESTS_PER_SHARED_CONNECTION = 240;
/**
 * Preconnect policy that opens the next connection when the current one has fewer than two requests left per active
 * request. A new connection takes five round trips over the internet.
 */
const PRECONNECT = messageFromJson('envoy.config.cluster.v3.Cluster.PreconnectPolicy', {
  per_upstream_preconnect_ratio: 3,
});
/**
 * Idle time after which a tunnel is closed. A tunnel uses memory in the edge, the gateway and the workload. Envoy's
 * default is one hour.
 */
const IDLE = messageFromJson('google.protobuf.Duration', '600s');
/** ALPN values that Istio's sidecars use to announce the inner protocol. The mesh gateway does not forward others. */
const ALPN = {
  http1: ['istio-http/1.1', 'istio', 'http/1.1'],
  http2: ['istio-h2', 'istio', 'h2'],
  any: ['istio'],
} as const;
/** Fields that keep the values from istiod. Addresses, DNS and health checks are not among them. */
const KEPT = [
  ...['connectTimeout', 'perConnectionBufferLimitBytes', 'maxRequestsPerConnection', 'circuitBreakers'],
  ...['outlierDetection', 'commonLbConfig', 'lbConfig', 'upstreamConnectionOptions', 'trackClusterStats'],
] as const;

/**
 * Transforms a cluster.
 * @param endpoints endpoints from istiod, if the cluster has any
 * @returns the clusters. Empty if the target is not granted. Includes a cluster for WebSockets if the relay chose
 *   HTTP/2
 */
export function transformCluster(
  any: Any,
  endpoints: Any | undefined,
  granted: GrantedServices,
  leftOuts: LeftOutCounter,
): readonly Any[] {
  const cluster = read<ClusterShape>(any);
  const service = cluster && granted.serviceOf(cluster.name);
  if (!cluster || !service) return [];
  const name = ownName(granted.grant, cluster.name);
  const peers = peersOf(cluster, granted);
  const reachable = peers.length > 0 && isMeshed(cluster, endpoints);
  if (!reachable) leftOuts.add('endpoints without mutual TLS', 'Cluster');
  const kept = Object.fromEntries(KEPT.map((field) => [field, cluster[field]]));
  const metadata = istioMetadata(cluster.metadata);
  const made = (own: string, { options, alpn, isShared }: Protocol): Any =>
    pack(
      create(messageType(CLUSTER), {
        ...kept,
        name: own,
        clusterDiscoveryType: { case: 'type', value: 0 },
        lbPolicy: cluster.lbPolicy === CLUSTER_PROVIDED ? ROUND_ROBIN : cluster.lbPolicy,
        loadAssignment: messageFromJson('envoy.config.endpoint.v3.ClusterLoadAssignment', {
          cluster_name: own,
          endpoints: reachable ? [{ lb_endpoints: [tunnelEndpoint(granted.grant, own)] }] : [],
        }),
        ...(reachable && { transportSocket: tlsSocket(granted.grant, cluster.name, peers, alpn) }),
        ...(options && { typedExtensionProtocolOptions: { [HTTP_OPTIONS]: options } }),
        ...(isShared && { preconnectPolicy: PRECONNECT }),
        ...(metadata && { metadata }),
      } as Record<string, unknown>),
    );
  const protocol = protocolOf(cluster, service);
  return [made(name, protocol), ...(protocol.before ? [made(webSocketCluster(name), protocol.before)] : [])];
}

interface Protocol {
  readonly options: Any | undefined;
  readonly alpn: readonly string[];
  /** Whether the connection always uses HTTP/2 and more than one program shares it. */
  readonly isShared?: boolean;
  /** Protocol that applied before the relay chose HTTP/2. */
  readonly before?: Protocol;
}

function tunnelEndpoint(grant: string, cluster: string) {
  return {
    endpoint: {
      address: { envoy_internal_address: { server_listener_name: tunnelName(grant), endpoint_id: cluster } },
    },
    metadata: { filter_metadata: MATCH },
  };
}

/** Whether an endpoint accepts mutual TLS. A cluster without EDS endpoints connects to the address that was called. */
function isMeshed({ edsClusterConfig }: ClusterShape, endpoints: Any | undefined): boolean {
  if (!edsClusterConfig) return true;
  const assignment = endpoints && read<ClusterLoadAssignment>(endpoints);
  return (assignment?.endpoints ?? []).some(({ lbEndpoints }) =>
    lbEndpoints.some(({ metadata }) => {
      const { tlsMode } = (metadata?.filterMetadata['envoy.transport_socket_match'] ?? {}) as { tlsMode?: unknown };
      return tlsMode === 'istio';
    }),
  );
}

/** Returns the SPIFFE ids of peers that istiod allows. Empty if a DestinationRule disables Istio's mutual TLS. */
function peersOf(cluster: ClusterShape, { trustDomain }: GrantedServices): readonly string[] {
  const sockets = [cluster.transportSocket, ...cluster.transportSocketMatches.map((match) => match.transportSocket)];
  for (const socket of sockets) {
    if (socket?.configType.case !== 'typedConfig' || !socket.configType.value.typeUrl.endsWith(`/${TLS}`)) continue;
    const tls = read<UpstreamTls>(socket.configType.value);
    const validation = tls?.commonTlsContext?.validationContextType;
    if (validation?.case !== 'combinedValidationContext') continue;
    const { matchSubjectAltNames = [], matchTypedSubjectAltNames = [] } =
      validation.value.defaultValidationContext ?? {};
    const names = [...matchSubjectAltNames, ...matchTypedSubjectAltNames.flatMap(({ matcher }) => matcher ?? [])];
    return names.flatMap(({ matchPattern }) => {
      const id = matchPattern.case === 'exact' ? matchPattern.value : '';
      return parseSpiffe(id)?.trustDomain === trustDomain ? [id] : [];
    });
  }
  return [];
}

function tlsSocket(grant: string, name: string, peers: readonly string[], alpn: readonly string[]) {
  const { port, subset, host } = parseClusterName(name)!;
  return messageFromJson('envoy.config.core.v3.TransportSocket', {
    name: 'envoy.transport_sockets.tls',
    typed_config: {
      '@type': `type.googleapis.com/${TLS}`,
      sni: `outbound_.${port}_.${subset}_.${host}`,
      common_tls_context: {
        tls_params: { tls_minimum_protocol_version: 'TLSv1_2', tls_maximum_protocol_version: 'TLSv1_3' },
        alpn_protocols: [...alpn],
        tls_certificate_sds_secret_configs: [{ name: grant, sds_config: AGENT_CONFIG_SOURCE }],
        combined_validation_context: {
          default_validation_context: {
            match_typed_subject_alt_names: peers.map((exact) => ({ san_type: 'URI', matcher: { exact } })),
          },
          validation_context_sds_secret_config: { name: 'roots', sds_config: AGENT_CONFIG_SOURCE },
        },
      },
    },
  });
}

/**
 * Chooses the inner protocol. The default is HTTP/2, because each connection is a separate tunnel. A DestinationRule
 * takes precedence if it sets the protocol, or if it limits connections, because HTTP/2 would defeat that limit.
 */
function protocolOf(cluster: ClusterShape, { protocol }: GrantedService): Protocol {
  const given = cluster.typedExtensionProtocolOptions[HTTP_OPTIONS];
  if (protocol === 'tcp') return { options: undefined, alpn: ALPN.any };
  const options = given && (unpack(given) as HttpProtocolOptions);
  const { case: chosen } = options?.upstreamProtocolOptions ?? {};
  if (options && chosen !== undefined && chosen !== 'explicitHttpConfig')
    return { options: shareable(options), alpn: ALPN.any };
  const explicit = options?.upstreamProtocolOptions.value?.protocolConfig?.case;
  if (options && explicit === 'http2ProtocolOptions')
    return { options: shareable(options), alpn: ALPN.http2, isShared: true };
  const before = { options: given, alpn: ALPN.http1 };
  if (limitsConnections(cluster, options)) return before;
  const http2 = messageFromJson(HTTP_OPTIONS, {
    explicit_http_config: { http2_protocol_options: { override_stream_error_on_invalid_http_message: true } },
  }) as HttpProtocolOptions;
  if (options?.commonHttpProtocolOptions) http2.commonHttpProtocolOptions = options.commonHttpProtocolOptions;
  return { options: shareable(http2), alpn: ALPN.http2, isShared: true, before };
}

/** Packs the options for a connection that more than one program shares. Mutates the message. */
function shareable(options: HttpProtocolOptions): Any {
  options.commonHttpProtocolOptions ??= messageFromJson(COMMON_OPTIONS, {}) as unknown as CommonHttpOptions;
  options.commonHttpProtocolOptions.maxRequestsPerConnection ??= REQUESTS_PER_SHARED_CONNECTION;
  options.commonHttpProtocolOptions.idleTimeout ??= IDLE;
  return pack(options);
}

function limitsConnections({ circuitBreakers, maxRequestsPerConnection }: ClusterShape, options?: HttpProtocolOptions) {
  const limits = circuitBreakers?.thresholds ?? [];
  return (
    (maxRequestsPerConnection ?? options?.commonHttpProtocolOptions?.maxRequestsPerConnection ?? 0) > 0 ||
    limits.some(
      ({ maxConnections = NO_LIMIT, maxPendingRequests = NO_LIMIT }) =>
        Math.min(maxConnections, maxPendingRequests) < NO_LIMIT,
    )
  );
}
