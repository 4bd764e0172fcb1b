/** Small accepted configuration, as JSON for tests to spoil: HTTP to one service, TCP to another. */
import type { JsonObject } from '@bufbuild/protobuf';
import { checkConfiguration, type WorkspaceConfiguration } from '../../src/index.ts';
import { resourceOf } from '../readable.ts';
import { AGENT_SOURCE, EXPECTED } from '../relayed.ts';

const TYPE = 'type.googleapis.com/';
const FILTERS = `${TYPE}envoy.extensions.filters.`;

// biome-ignore lint/suspicious/noExplicitAny: JSON to spoil, member by member
export type Spoiled = any;

/** Returns a message for an `Any`, by type name. */
export function typed(type: string, json: JsonObject = {}): JsonObject {
  return { '@type': `${TYPE}${type}`, ...json };
}

export function httpFilter(type: string, json: JsonObject = {}): JsonObject {
  return { name: 'x', typed_config: typed(type, json) };
}

export interface Honest {
  version: number;
  /** HTTP on 127.64.0.1:8080, TCP on 127.64.0.2:5432. */
  listeners: Spoiled[];
  clusters: Spoiled[];
  routes: Spoiled[];
}

export function honest(): Honest {
  return structuredClone({
    version: 1,
    listeners: [
      listener('127.64.0.1', 8080, {
        '@type': `${FILTERS}network.http_connection_manager.v3.HttpConnectionManager`,
        stat_prefix: 'orders',
        rds: { config_source: { ads: {}, resource_api_version: 'V3' }, route_config_name: 'dev/8080' },
        http_filters: [
          { name: 'fault', typed_config: { '@type': `${FILTERS}http.fault.v3.HTTPFault` } },
          { name: 'router', typed_config: { '@type': `${FILTERS}http.router.v3.Router` } },
        ],
      }),
      listener('127.64.0.2', 5432, {
        '@type': `${FILTERS}network.tcp_proxy.v3.TcpProxy`,
        stat_prefix: 'ledger',
        cluster: 'dev/outbound|5432||ledger.shop.svc.cluster.local',
      }),
    ],
    clusters: [cluster(8080, 'orders'), cluster(5432, 'ledger')],
    routes: [
      {
        '@type': `${TYPE}envoy.config.route.v3.RouteConfiguration`,
        name: 'dev/8080',
        virtual_hosts: [
          {
            name: 'orders',
            domains: ['orders.shop.svc.cluster.local', 'orders.shop', 'orders.shop:8080'],
            routes: [
              { match: { prefix: '/' }, route: { cluster: 'dev/outbound|8080||orders.shop.svc.cluster.local' } },
            ],
          },
          { name: 'block_all', domains: ['*'], routes: [{ match: { prefix: '/' }, direct_response: { status: 502 } }] },
        ],
      },
    ],
  });
}

/** Lists all refusals as `RESOURCE | PATH | REASON`. */
export function refusals(configuration: Honest, more: Partial<WorkspaceConfiguration> = {}): string[] {
  const all = (list: JsonObject[]) => list.map((json) => resourceOf(json));
  const { version, listeners, clusters, routes } = configuration;
  const sent = { version, listeners: all(listeners), clusters: all(clusters), routes: all(routes), ...more };
  return checkConfiguration(sent, EXPECTED).map(({ resource, path, reason }) => `${resource} | ${path} | ${reason}`);
}

/** Returns the refusals of the honest configuration after `change`. */
export function spoil(change: (configuration: Honest) => void): string[] {
  const configuration = honest();
  change(configuration);
  return refusals(configuration);
}

function listener(address: string, port_value: number, typed_config: JsonObject): JsonObject {
  return {
    '@type': `${TYPE}envoy.config.listener.v3.Listener`,
    name: `dev/${address}_${port_value}`,
    address: { socket_address: { address, port_value } },
    filter_chains: [{ filters: [{ name: 'x', typed_config }] }],
  };
}

function cluster(port: number, service: string): JsonObject {
  const host = `${service}.shop.svc.cluster.local`;
  const name = `dev/outbound|${port}||${host}`;
  return {
    '@type': `${TYPE}envoy.config.cluster.v3.Cluster`,
    name,
    type: 'STATIC',
    connect_timeout: '5s',
    load_assignment: {
      cluster_name: name,
      endpoints: [
        {
          lb_endpoints: [
            {
              endpoint: {
                address: { envoy_internal_address: { server_listener_name: 'tunnel/dev', endpoint_id: name } },
              },
              metadata: { filter_metadata: { 'envoy.transport_socket_match': { tlsMode: 'istio' } } },
            },
          ],
        },
      ],
    },
    transport_socket_matches: [
      {
        name: 'tlsMode-istio',
        match: { tlsMode: 'istio' },
        transport_socket: {
          name: 'envoy.transport_sockets.tls',
          typed_config: {
            '@type': `${TYPE}envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext`,
            sni: `outbound_.${port}_._.${host}`,
            common_tls_context: {
              alpn_protocols: ['istio-peer-exchange', 'istio'],
              tls_certificate_sds_secret_configs: [{ name: 'dev', sds_config: AGENT_SOURCE }],
              combined_validation_context: {
                default_validation_context: {
                  match_typed_subject_alt_names: [
                    { san_type: 'URI', matcher: { exact: `spiffe://cluster.local/ns/shop/sa/${service}` } },
                  ],
                },
                validation_context_sds_secret_config: { name: 'roots', sds_config: AGENT_SOURCE },
              },
            },
          },
        },
      },
    ],
  };
}
