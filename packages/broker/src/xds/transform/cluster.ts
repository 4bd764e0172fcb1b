/** A cluster of istiod's becomes a way through the tunnel: no address, TLS with the identities that istiod names, HTTP/2 inside. */
import { create } from '@bufbuild/protobuf';
import type { Any } from '@bufbuild/protobuf/wkt';
import { AGENT_SOURCE, CLUSTER, messageOf, messageType, pack, unpack } from '@meshpass/envoy';
import { parseSpiffe } from '@meshpass/identity';
import type { Granted, GrantedService } from './granted.ts';
import type { LeftOuts } from './left-out.ts';
import { istioMetadata, ownName, tunnelName } from './names.ts';
import { clusterOf, read } from './resources.ts';
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
/** What istiod writes where nobody set a limit. */
const NO_LIMIT = 4_294_967_295;
/**
 * A sidecar ends an HTTP/2 connection, with every request on it, once most of the first 500 were given up early (Envoy's
 * `overload.premature_reset_total_stream_count`), or more than 1,000 and 33 a second (nghttp2's `stream_reset_rate_limit`). What one
 * program gives up must not fail the requests of another: a connection is drained before it can have that many. 249 is the most that
 * is safe whatever programs do: from 250 on, that many given up are enough.
 */
export const REQUESTS_PER_SHARED_CONNECTION = 240;
/**
 * Of a connection with fewer requests left than two for each that is under way, the next is opened already: over the internet it takes
 * five round trips.
 */
const PRECONNECT = messageOf('envoy.config.cluster.v3.Cluster.PreconnectPolicy', { per_upstream_preconnect_ratio: 3 });
/** After which a tunnel that nobody uses is closed: it takes memory at the edge, the gateway and the workload. Envoy's default is an hour. */
const IDLE = messageOf('google.protobuf.Duration', '600s');
/** As Istio's sidecars say to each other what is inside; the mesh gateway passes on no other. */
const ALPN = {
  http1: ['istio-http/1.1', 'istio', 'http/1.1'],
  http2: ['istio-h2', 'istio', 'h2'],
  any: ['istio'],
} as const;
/** Fields that are as istiod set them. Addresses, DNS and health checks are not among them. */
const KEPT = [
  ...['connectTimeout', 'perConnectionBufferLimitBytes', 'maxRequestsPerConnection', 'circuitBreakers'],
  ...['outlierDetection', 'commonLbConfig', 'lbConfig', 'upstreamConnectionOptions', 'trackClusterStats'],
] as const;

/**
 * @param endpoints istiod's, where the cluster has some
 * @returns none where it leads to nothing that is granted; with the cluster for WebSockets where HTTP/2 is the relay's choice
 */
export function transformCluster(
  any: Any,
  endpoints: Any | undefined,
  granted: Granted,
  leftOuts: LeftOuts,
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
        loadAssignment: messageOf('envoy.config.endpoint.v3.ClusterLoadAssignment', {
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
  /** Always HTTP/2: requests of several programs are under way on one connection. */
  readonly isShared?: boolean;
  /** As it would be without the relay's choice of HTTP/2. */
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

/** Whether something is behind it that takes mutual TLS. What istiod sends no endpoints for, it resolves by the address called. */
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

/** The SPIFFE ids that may answer, as istiod has them; none where a DestinationRule turns Istio's mutual TLS off. */
function peersOf(cluster: ClusterShape, { trustDomain }: Granted): readonly string[] {
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
  const { port, subset, host } = clusterOf(name)!;
  return messageOf('envoy.config.core.v3.TransportSocket', {
    name: 'envoy.transport_sockets.tls',
    typed_config: {
      '@type': `type.googleapis.com/${TLS}`,
      sni: `outbound_.${port}_.${subset}_.${host}`,
      common_tls_context: {
        tls_params: { tls_minimum_protocol_version: 'TLSv1_2', tls_maximum_protocol_version: 'TLSv1_3' },
        alpn_protocols: [...alpn],
        tls_certificate_sds_secret_configs: [{ name: grant, sds_config: AGENT_SOURCE }],
        combined_validation_context: {
          default_validation_context: {
            match_typed_subject_alt_names: peers.map((exact) => ({ san_type: 'URI', matcher: { exact } })),
          },
          validation_context_sds_secret_config: { name: 'roots', sds_config: AGENT_SOURCE },
        },
      },
    },
  });
}

/**
 * HTTP/2 inside, because each connection is a tunnel of its own; unless the DestinationRule limits connections, which would mean
 * nothing then, or says itself what is spoken.
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
  const http2 = messageOf(HTTP_OPTIONS, {
    explicit_http_config: { http2_protocol_options: { override_stream_error_on_invalid_http_message: true } },
  }) as HttpProtocolOptions;
  if (options?.commonHttpProtocolOptions) http2.commonHttpProtocolOptions = options.commonHttpProtocolOptions;
  return { options: shareable(http2), alpn: ALPN.http2, isShared: true, before };
}

/** The options of a connection on which requests of several programs are under way, packed. Changes the message. */
function shareable(options: HttpProtocolOptions): Any {
  options.commonHttpProtocolOptions ??= messageOf(COMMON_OPTIONS, {}) as unknown as CommonHttpOptions;
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
