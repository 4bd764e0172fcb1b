/**
 * Merges the configurations of a set of grants. If more than one grant contains the same port of a service, a shared
 * listener receives all requests and forwards each of them to the first grant that allows it. The listeners of the
 * individual grants become internal listeners. The shared listener must have its own name, because a session may gain a
 * grant during a call: Envoy replaces the listener on an address only if the old one is removed, not if it is changed.
 */
import type { Any } from '@bufbuild/protobuf/wkt';
import { messageFromJson, pack, unpack } from '@meshpass/envoy';
import { routeMatches } from './allowed-routes.ts';
import { REQUESTS_PER_SHARED_CONNECTION } from './cluster.ts';
import { createLeftOutCounter, type GrantConfiguration } from './grant-configuration.ts';
import type { GrantedService } from './granted.ts';
import { HTTP_CONNECTION_MANAGER, ownName } from './resources.ts';

export type GrantSetConfiguration = ReturnType<typeof mergeGrants>;

interface Held {
  readonly grant: string;
  readonly service: GrantedService;
  readonly listener: Any;
}

/**
 * Merges the configurations of the given grants into one.
 * @param grants the configurations of the grants, in the order of the access file
 */
export function mergeGrants(grants: readonly GrantConfiguration[]) {
  const all = grants.flatMap(({ grant, listeners }) => listeners.map((one): Held => ({ grant, ...one })));
  const ports = Map.groupBy(all, ({ service }) => `${service.address}_${service.port}`);
  const listeners: Any[] = [];
  const clusters = grants.flatMap((one) => one.clusters);
  for (const held of ports.values()) {
    const [first, ...others] = held;
    // Connections to a port that is not HTTP contain no requests that could be used to choose a grant, so the first
    // grant is used.
    if (others.length === 0 || !held.every(({ service }) => isHttp(service))) {
      listeners.push(first!.listener);
      continue;
    }
    listeners.push(sharedListener(held), ...held.map(toInternal));
    clusters.push(...held.map(internalCluster));
  }
  const leftOuts = createLeftOutCounter();
  for (const { what, where, count } of grants.flatMap((one) => one.leftOut)) leftOuts.add(what, where, count);
  return { listeners, clusters, routes: grants.flatMap((one) => one.routes), leftOut: leftOuts.all() };
}

function isHttp({ protocol }: GrantedService): boolean {
  return protocol === 'http' || protocol === 'http2';
}

function toInternal(held: Held): Any {
  const internalListener = messageFromJson('envoy.config.listener.v3.Listener.InternalListenerConfig', {});
  const listenerSpecifier = { case: 'internalListener', value: internalListener };
  return pack(Object.assign(unpack(held.listener)!, { name: innerName(held), address: undefined, listenerSpecifier }));
}

function innerName({ grant, service }: Held): string {
  return ownName(grant, `inner/${service.address}_${service.port}`);
}

function sharedName({ grant, service }: Held): string {
  return ownName(grant, `shared/${service.address}_${service.port}`);
}

function internalCluster(held: Held): Any {
  const name = sharedName(held);
  const address = { envoy_internal_address: { server_listener_name: innerName(held), endpoint_id: name } };
  return pack(
    messageFromJson('envoy.config.cluster.v3.Cluster', {
      name,
      type: 'STATIC',
      connect_timeout: '5s',
      load_assignment: { cluster_name: name, endpoints: [{ lb_endpoints: [{ endpoint: { address } }] }] },
      typed_extension_protocol_options: {
        'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
          '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
          use_downstream_protocol_config: { http_protocol_options: {}, http2_protocol_options: {} },
          common_http_protocol_options: { max_requests_per_connection: REQUESTS_PER_SHARED_CONNECTION },
        },
      },
      circuit_breakers: {
        thresholds: [
          { max_connections: UNLIMITED, max_pending_requests: UNLIMITED, max_requests: UNLIMITED, max_retries: 0 },
        ],
      },
    }),
  );
}

/** A value that disables a limit. The limits of each grant's own clusters still apply. */
const UNLIMITED = 4_294_967_295;

function sharedListener(held: readonly Held[]): Any {
  const first = held[0]!;
  const { address, port, host, aliases } = first.service;
  const routes = held.flatMap((one) => routeMatches(one.service).map((match) => ({ match, one })));
  const all = { match: { prefix: '/' }, one: first };
  const name = sharedName(first);
  return pack(
    messageFromJson('envoy.config.listener.v3.Listener', {
      name,
      address: { socket_address: { address, port_value: port } },
      traffic_direction: 'OUTBOUND',
      filter_chains: [
        {
          filters: [
            {
              name: 'envoy.filters.network.http_connection_manager',
              typed_config: {
                '@type': `type.googleapis.com/${HTTP_CONNECTION_MANAGER}`,
                stat_prefix: name,
                stream_idle_timeout: '0s',
                normalize_path: true,
                proxy_100_continue: true,
                generate_request_id: false,
                use_remote_address: false,
                server_header_transformation: 'PASS_THROUGH',
                upgrade_configs: [{ upgrade_type: 'websocket' }],
                route_config: {
                  name,
                  ignore_port_in_host_matching: true,
                  virtual_hosts: [
                    {
                      name: `${host}:${port}`,
                      domains: [host, ...aliases],
                      routes: [...routes, all].map(({ match, one }) => ({
                        match,
                        route: { cluster: sharedName(one), timeout: '0s', idle_timeout: '0s' },
                      })),
                    },
                  ],
                },
                http_filters: [
                  {
                    name: 'envoy.filters.http.router',
                    typed_config: {
                      '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router',
                      suppress_envoy_headers: true,
                    },
                  },
                ],
              },
            },
          ],
        },
      ],
    }),
  );
}
