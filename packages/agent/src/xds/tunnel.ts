/**
 * Builds the tunnel that leads out of the workspace, for each grant. An internal listener accepts an inner TLS
 * connection. Over TLS with the grant's certificate, it then asks the edge to connect to the server name in that
 * connection's ClientHello.
 */
import { isIP } from 'node:net';
import type { JsonObject } from '@bufbuild/protobuf';
import { AGENT_CONFIG_SOURCE } from '@meshpass/envoy';
import { KUBERNETES_TARGET } from '@meshpass/identity';
import type { MeshInfo } from '@meshpass/identity/wire';
import { tcpAccessLog } from '../access-log/loggers.ts';
import { buildSingleEndpointCluster, buildSocketAddress, extension, networkChain } from '../envoy/json.ts';
import { EDGE_ROOTS } from '../sds/secrets.ts';

/**
 * The port of the mesh gateway's AUTO_PASSTHROUGH listener. It is part of the target in the CONNECT request to the
 * edge.
 */
const GATEWAY_PORT = 15443;

/**
 * Builds the listener that opens the tunnels of a grant.
 * @returns an `envoy.config.listener.v3.Listener` in JSON
 */
export function tunnelListener(grant: string): JsonObject {
  const name = `tunnel/${grant}`;
  // The tunnel has no idle timeout of its own. Instead, the timeout of the listener that the program connected to
  // applies.
  return { ...toEdge(name, grant, `%REQUESTED_SERVER_NAME%:${GATEWAY_PORT}`), internal_listener: {} };
}

/**
 * Builds a grant's listener for the Kubernetes API server. Programs use TLS themselves, and the edge limits the idle
 * time.
 */
export function kubernetesListener(
  grant: string,
  address: { readonly host: string; readonly port: number },
): JsonObject {
  return {
    ...toEdge(`kubernetes/${grant}`, grant, KUBERNETES_TARGET),
    address: buildSocketAddress(address.host, address.port),
    enable_reuse_port: false,
  };
}

/**
 * Builds a listener that forwards TLS connections to the edge, with `hostname` as the target of its CONNECT requests.
 */
function toEdge(name: string, grant: string, hostname: string): JsonObject {
  return {
    name,
    listener_filters: [
      extension('envoy.filters.listener.tls_inspector', 'extensions.filters.listener.tls_inspector.v3.TlsInspector'),
    ],
    filter_chains: networkChain('tcp_proxy', 'TcpProxy', {
      stat_prefix: name,
      cluster: `edge/${grant}`,
      idle_timeout: '0s',
      tunneling_config: { hostname, propagate_response_headers: true },
      access_log: [tcpAccessLog()],
    }),
  };
}

/**
 * Builds the cluster that connects to the edge with a grant's certificate.
 * @returns an `envoy.config.cluster.v3.Cluster` in JSON
 */
export function edgeCluster(grant: string, edge: MeshInfo['edge']): JsonObject {
  const isAddress = isIP(edge.host) !== 0;
  const name = { san_type: isAddress ? 'IP_ADDRESS' : 'DNS', matcher: { exact: edge.host } };
  return {
    ...buildSingleEndpointCluster(`edge/${grant}`, buildSocketAddress(edge.host, edge.port)),
    // If the name has more than one address and one of them does not respond promptly, Envoy tries the next one (RFC
    // 8305).
    type: 'LOGICAL_DNS',
    dns_lookup_family: 'ALL',
    connect_timeout: '5s',
    // Keepalive detects an edge that has disappeared without closing the connection.
    upstream_connection_options: {
      tcp_keepalive: { keepalive_time: 20, keepalive_interval: 10, keepalive_probes: 3 },
    },
    transport_socket: extension(
      'envoy.transport_sockets.tls',
      'extensions.transport_sockets.tls.v3.UpstreamTlsContext',
      {
        ...(isAddress ? {} : { sni: edge.host }),
        // The edge issues this many tickets per full handshake. Each ticket is valid for one more connection.
        max_session_keys: 2,
        common_tls_context: {
          tls_params: { tls_minimum_protocol_version: 'TLSv1_3', tls_maximum_protocol_version: 'TLSv1_3' },
          alpn_protocols: ['http/1.1'],
          tls_certificate_sds_secret_configs: [{ name: grant, sds_config: AGENT_CONFIG_SOURCE }],
          combined_validation_context: {
            default_validation_context: { match_typed_subject_alt_names: [name] },
            validation_context_sds_secret_config: { name: EDGE_ROOTS, sds_config: AGENT_CONFIG_SOURCE },
          },
        },
      },
    ),
  };
}
