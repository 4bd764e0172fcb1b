/**
 * Builds a configuration like a broker's: istiod's configuration for a sidecar, with the tunnel instead of endpoints.
 */
import { toBinary } from '@bufbuild/protobuf';
import { AnySchema } from '@bufbuild/protobuf/wkt';
import { CLUSTER, LISTENER, messageFromJson, pack, ROUTE_CONFIGURATION } from '@meshpass/envoy';
import type { ConfigurationResponse, ReachableService } from '@meshpass/identity/wire';

const TYPE = 'type.googleapis.com/';
const FROM_AGENT = {
  api_config_source: {
    api_type: 'GRPC',
    transport_api_version: 'V3',
    grpc_services: [{ envoy_grpc: { cluster_name: 'agent' } }],
  },
  resource_api_version: 'V3',
};

// biome-ignore lint/suspicious/noExplicitAny: JSON of Envoy's messages, which tests corrupt at will
export type Json = any;

/** Resources as JSON, which tests may change before encoding. */
export interface Written {
  listeners: Json[];
  clusters: Json[];
  routes: Json[];
  left_out?: ConfigurationResponse['left_out'];
}

export function configurationOf(services: readonly ReachableService[]): Written {
  const listening = services.filter(({ address }) => address !== undefined);
  return {
    listeners: listening.map(listener),
    clusters: listening.map(cluster),
    routes: listening.filter(({ protocol }) => protocol !== 'tcp').map(routes),
  };
}

export function encoded({
  listeners,
  clusters,
  routes: configurations,
  left_out = [],
}: Written): ConfigurationResponse {
  const all = (type: string, written: Json[]) =>
    written.map((one) => Buffer.from(toBinary(AnySchema, pack(messageFromJson(type, one)))).toString('base64'));
  return {
    listeners: all(LISTENER, listeners),
    clusters: all(CLUSTER, clusters),
    routes: all(ROUTE_CONFIGURATION, configurations),
    left_out,
  };
}

const clusterName = ({ grant, host, port }: ReachableService) => `${grant}/outbound|${port}||${host}`;

function listener(service: ReachableService): Json {
  const { grant, address, port, protocol } = service;
  const name = `${grant}/${address}_${port}`;
  const filter =
    protocol === 'tcp'
      ? {
          name: 'envoy.filters.network.tcp_proxy',
          typed_config: {
            '@type': `${TYPE}envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy`,
            stat_prefix: name,
            cluster: clusterName(service),
          },
        }
      : {
          name: 'envoy.filters.network.http_connection_manager',
          typed_config: {
            '@type': `${TYPE}envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager`,
            stat_prefix: name,
            rds: {
              route_config_name: `${grant}/${port}`,
              config_source: { ads: {}, resource_api_version: 'V3' },
            },
            http_filters: [
              {
                name: 'envoy.filters.http.router',
                typed_config: { '@type': `${TYPE}envoy.extensions.filters.http.router.v3.Router` },
              },
            ],
          },
        };
  return {
    name,
    address: { socket_address: { address, port_value: port } },
    filter_chains: [{ filters: [filter] }],
    traffic_direction: 'OUTBOUND',
  };
}

function cluster(service: ReachableService): Json {
  const { grant, host, port, spiffe_ids: ids } = service;
  const name = clusterName(service);
  return {
    name,
    type: 'STATIC',
    connect_timeout: '10s',
    load_assignment: {
      cluster_name: name,
      endpoints: [
        {
          lb_endpoints: [
            {
              endpoint: {
                address: { envoy_internal_address: { server_listener_name: `tunnel/${grant}`, endpoint_id: name } },
              },
            },
          ],
        },
      ],
    },
    transport_socket: {
      name: 'envoy.transport_sockets.tls',
      typed_config: {
        '@type': `${TYPE}envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext`,
        sni: `outbound_.${port}_._.${host}`,
        common_tls_context: {
          alpn_protocols: ['istio-http/1.1', 'istio'],
          tls_certificate_sds_secret_configs: [{ name: grant, sds_config: FROM_AGENT }],
          combined_validation_context: {
            default_validation_context: {
              match_typed_subject_alt_names: ids.map((exact) => ({ san_type: 'URI', matcher: { exact } })),
            },
            validation_context_sds_secret_config: { name: 'roots', sds_config: FROM_AGENT },
          },
        },
      },
    },
  };
}

function routes(service: ReachableService): Json {
  const { grant, host, port, aliases } = service;
  return {
    name: `${grant}/${port}`,
    ignore_port_in_host_matching: true,
    virtual_hosts: [
      {
        name: `${host}:${port}`,
        domains: [host, ...aliases],
        routes: [{ match: { prefix: '/' }, route: { cluster: clusterName(service), timeout: '0s' } }],
      },
      { name: 'block_all', domains: ['*'], routes: [{ match: { prefix: '/' }, direct_response: { status: 502 } }] },
    ],
  };
}
