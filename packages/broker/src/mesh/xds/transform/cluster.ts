/**
 * Transforms a cluster from istiod into one that sends its traffic through the tunnel. The new cluster has no network
 * address. It uses TLS with the peer identities that istiod allows, and HTTP/2 inside the TLS connection.
 */
import { create } from '@bufbuild/protobuf';
import type { Any } from '@bufbuild/protobuf/wkt';
import { AGENT_CONFIG_SOURCE, CLUSTER, messageFromJson, messageType, pack, unpack } from '@meshpass/envoy';
import { parseSpiffe } from '@meshpass/identity';
import type { GrantedService, TransformedGrant } from './granted.ts';
import { istioMetadata, ownName, parseClusterName, read, tunnelName } from './resources.ts';
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
/** The value that istiod sets if no limit is configured. */
const NO_LIMIT = 4_294_967_295;
/**
 * The maximum number of requests on a connection that is shared by more than one program. A sidecar closes an HTTP/2
 * connection, and fails all of its requests, if most of the first 500 requests were reset early (Envoy's
 * `overload.premature_reset_total_stream_count`) or if there were more than 1,000 resets plus 33 per second (nghttp2's
 * `stream_reset_rate_limit`). Resets by one program must not cause another program's requests to fail, so a connection
 * is drained before it reaches these limits. The highest safe value is 249, because 250 resets are enough to close the
 * connection.
 */
export const REQUESTS_PER_SHARED_CONNECTION = 240;
/**
 * A preconnect policy that opens the next connection when the current one has fewer than two requests left for each
 * active request. Opening a connection takes five round trips over the internet.
 */
const PRECONNECT = messageFromJson('envoy.config.cluster.v3.Cluster.PreconnectPolicy', {
  per_upstream_preconnect_ratio: 3,
});
/**
 * How long a tunnel may be idle before it is closed. Every tunnel uses memory in the edge, the gateway and the
 * workload. Envoy's default is one hour.
 */
const IDLE = messageFromJson('google.protobuf.Duration', '600s');
/**
 * The ALPN values that Istio's sidecars use to announce the inner protocol. The mesh gateway does not forward
 * connections with any other value.
 */
const ALPN = {
  http1: ['istio-http/1.1', 'istio', 'http/1.1'],
  http2: ['istio-h2', 'istio', 'h2'],
  any: ['istio'],
} as const;
/** The fields whose values from istiod are kept. Addresses, DNS settings and health checks are not among them. */
const KEPT = [
  ...['connectTimeout', 'perConnectionBufferLimitBytes', 'maxRequestsPerConnection', 'circuitBreakers'],
  ...['outlierDetection', 'commonLbConfig', 'lbConfig', 'upstreamConnectionOptions', 'trackClusterStats'],
] as const;

/**
 * Transforms a cluster from istiod for use in a workspace.
 * @param endpoints the cluster's endpoints from istiod, if it has any
 * @returns the resulting clusters, or an empty list if the target is not granted. If the relay chose HTTP/2, there is a
 *   second cluster for WebSockets.
 */
export function transformCluster(any: Any, endpoints: Any | undefined, granted: TransformedGrant): readonly Any[] {
  const cluster = read<ClusterShape>(any);
  const service = cluster && granted.serviceOf(cluster.name);
  if (!cluster || !service) return [];
  const name = ownName(granted.grant, cluster.name);
  const peers = peersOf(cluster, granted);
  const reachable = peers.length > 0 && isMeshed(cluster, endpoints);
  if (!reachable) granted.leaveOut('endpoints without mutual TLS', 'Cluster');
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
  /** Whether connections always use HTTP/2 and are shared by more than one program. */
  readonly isShared?: boolean;
  /** The protocol that would have been used if the relay had not chosen HTTP/2. */
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

/**
 * Whether any endpoint of a cluster accepts mutual TLS. A cluster without EDS endpoints connects to the address that
 * was called.
 */
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

/**
 * Returns the SPIFFE IDs of the peers that istiod allows. The list is empty if a DestinationRule disables Istio's
 * mutual TLS.
 */
function peersOf(cluster: ClusterShape, { trustDomain }: TransformedGrant): readonly string[] {
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
 * Chooses the inner protocol of a cluster. The default is HTTP/2, because every connection is a separate tunnel. A
 * DestinationRule takes precedence if it sets the protocol or limits the number of connections, because HTTP/2 would
 * defeat that limit.
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

/** Packs the options for a connection that is shared by more than one program. The message is modified in place. */
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
