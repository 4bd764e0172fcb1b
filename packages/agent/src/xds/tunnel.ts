/**
 * The way out of the workspace, one for each grant: an internal listener that takes an inner TLS connection, and asks the edge, over
 * TLS with the grant's certificate, to connect it to where its ClientHello says.
 */
import { isIP } from 'node:net';
import type { JsonObject } from '@bufbuild/protobuf';
import { AGENT_SOURCE, TYPE_URL_PREFIX } from '@meshpass/envoy';
import { KUBERNETES_TARGET } from '@meshpass/identity/kubernetes/api';
import { tcpAccessLog } from '../access-log/loggers.ts';
import { EDGE_ROOTS } from '../sds/secrets.ts';

export interface EdgeAddress {
  /** Name in the edge's certificate. */
  readonly host: string;
  readonly port: number;
}

/** Port of the mesh gateway's AUTO_PASSTHROUGH listener: with the server name, it is what the edge is asked for. */
const GATEWAY_PORT = 15443;

/** @returns `envoy.config.listener.v3.Listener` as JSON */
export function tunnelListener(grant: string): JsonObject {
  const name = `tunnel/${grant}`;
  // The connection's other end, the listener that a program called, decides how long it may be idle.
  return { ...toEdge(name, grant, `%REQUESTED_SERVER_NAME%:${GATEWAY_PORT}`), internal_listener: {} };
}

/** To the API server of Kubernetes, under one grant: programs speak TLS to it themselves. The edge decides how long it may be idle. */
export function kubernetesListener(
  grant: string,
  address: { readonly host: string; readonly port: number },
): JsonObject {
  return {
    ...toEdge(`kubernetes/${grant}`, grant, KUBERNETES_TARGET),
    address: { socket_address: { address: address.host, port_value: address.port } },
    enable_reuse_port: false,
  };
}

/** Takes a TLS connection, and has the edge connect it to `hostname`. */
function toEdge(name: string, grant: string, hostname: string): JsonObject {
  return {
    name,
    listener_filters: [
      {
        name: 'envoy.filters.listener.tls_inspector',
        typed_config: { '@type': `${TYPE_URL_PREFIX}envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector` },
      },
    ],
    filter_chains: [
      {
        filters: [
          {
            name: 'envoy.filters.network.tcp_proxy',
            typed_config: {
              '@type': `${TYPE_URL_PREFIX}envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy`,
              stat_prefix: name,
              cluster: `edge/${grant}`,
              idle_timeout: '0s',
              tunneling_config: { hostname, propagate_response_headers: true },
              access_log: [tcpAccessLog()],
            },
          },
        ],
      },
    ],
  };
}

/** @returns `envoy.config.cluster.v3.Cluster` as JSON */
export function edgeCluster(grant: string, edge: EdgeAddress): JsonObject {
  const isAddress = isIP(edge.host) !== 0;
  return {
    name: `edge/${grant}`,
    // Of several addresses the next is tried where one does not answer at once (RFC 8305).
    type: 'LOGICAL_DNS',
    dns_lookup_family: 'ALL',
    connect_timeout: '5s',
    load_assignment: {
      cluster_name: `edge/${grant}`,
      endpoints: [
        {
          lb_endpoints: [{ endpoint: { address: { socket_address: { address: edge.host, port_value: edge.port } } } }],
        },
      ],
    },
    // An edge that vanished without a word must not hold a connection for hours.
    upstream_connection_options: {
      tcp_keepalive: { keepalive_time: 20, keepalive_interval: 10, keepalive_probes: 3 },
    },
    transport_socket: {
      name: 'envoy.transport_sockets.tls',
      typed_config: {
        '@type': `${TYPE_URL_PREFIX}envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext`,
        ...(isAddress ? {} : { sni: edge.host }),
        // As many tickets as the edge gives with a full handshake; each is good for one more connection.
        max_session_keys: 2,
        common_tls_context: {
          tls_params: { tls_minimum_protocol_version: 'TLSv1_3', tls_maximum_protocol_version: 'TLSv1_3' },
          alpn_protocols: ['http/1.1'],
          tls_certificate_sds_secret_configs: [{ name: grant, sds_config: AGENT_SOURCE }],
          combined_validation_context: {
            default_validation_context: {
              match_typed_subject_alt_names: [
                { san_type: isAddress ? 'IP_ADDRESS' : 'DNS', matcher: { exact: edge.host } },
              ],
            },
            validation_context_sds_secret_config: { name: EDGE_ROOTS, sds_config: AGENT_SOURCE },
          },
        },
      },
    },
  };
}
