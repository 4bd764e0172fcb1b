/**
 * The loopback proxy as Envoy's configuration: HTTP/1.1 requests in absolute form (RFC 9112 section 3.2.2) and CONNECT, for programs
 * that cannot use names. A service of the mesh is reached through its own loopback listener, so that by proxy it is treated as by name;
 * everything else as if there were no proxy. It asks for the secret of this run, because a Codespace may forward any listening port to
 * the internet.
 */
import { createHash, randomBytes } from 'node:crypto';
import { createServer } from 'node:net';
import type { JsonObject } from '@bufbuild/protobuf';
import { TYPE_URL_PREFIX } from '@meshpass/envoy';
import type { ReachableService } from '@meshpass/identity/wire';
import { httpAccessLog } from '../access-log/loggers.ts';
import { code, isStatus, literal, replies, shortName } from '../xds/http-filters.ts';
import { PROXY_USER } from './environment.ts';
import { withoutLoopback } from './without-loopback.ts';

const HTTP = `${TYPE_URL_PREFIX}envoy.extensions.filters.http`;
const NAME = 'agent/proxy';
const ELSEWHERE = 'agent/elsewhere';
const DNS_CACHE: JsonObject = { name: ELSEWHERE, dns_lookup_family: 'ALL', max_hosts: 4_096 };
const FORWARD = `${TYPE_URL_PREFIX}envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig`;

export interface LoopbackProxy {
  readonly port: number;
  /** The secret of this run; `meshpass env` puts it into the proxy URL. It is not in Envoy's configuration: a hash of it is. */
  readonly secret: string;
}

/** @param port 0 for any that is free */
export async function newLoopbackProxy(port: number): Promise<LoopbackProxy> {
  return { port: port === 0 ? await freePort() : port, secret: randomBytes(24).toString('base64url') };
}

/** @returns `envoy.config.listener.v3.Listener` as JSON: one for the workspace's own programs, one for those of its containers */
export function proxyListeners(proxy: LoopbackProxy, bridgeAddress: string | undefined): JsonObject[] {
  const own = proxyListener(NAME, '127.0.0.1', proxy, []);
  if (bridgeAddress === undefined) return [own];
  return [own, proxyListener(`${NAME}/bridge`, bridgeAddress, proxy, [withoutLoopback()])];
}

function proxyListener(
  name: string,
  address: string,
  { port, secret }: LoopbackProxy,
  further: readonly JsonObject[],
): JsonObject {
  const digest = createHash('sha1').update(secret).digest('base64');
  return {
    name,
    address: { socket_address: { address, port_value: port } },
    enable_reuse_port: false,
    filter_chains: [
      {
        filters: [
          {
            name: 'envoy.filters.network.http_connection_manager',
            typed_config: {
              '@type': `${TYPE_URL_PREFIX}envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager`,
              stat_prefix: name,
              rds: { route_config_name: NAME, config_source: { ads: {}, resource_api_version: 'V3' } },
              // It is no hop that says so: what a program asks for is what goes out.
              server_header_transformation: 'PASS_THROUGH',
              skip_xff_append: true,
              generate_request_id: false,
              preserve_external_request_id: true,
              strip_trailing_host_dot: true,
              stream_idle_timeout: '0s',
              upgrade_configs: [{ upgrade_type: 'CONNECT' }, { upgrade_type: 'websocket' }],
              access_log: [httpAccessLog()],
              local_reply_config: { mappers: ownReplies() },
              http_filters: [
                {
                  name: 'envoy.filters.http.basic_auth',
                  typed_config: {
                    '@type': `${HTTP}.basic_auth.v3.BasicAuth`,
                    users: { inline_string: `${PROXY_USER}:{SHA}${digest}` },
                    authentication_header: 'Proxy-Authorization',
                  },
                },
                {
                  name: 'envoy.filters.http.dynamic_forward_proxy',
                  typed_config: {
                    '@type': `${HTTP}.dynamic_forward_proxy.v3.FilterConfig`,
                    dns_cache_config: DNS_CACHE,
                    save_upstream_address: true,
                  },
                },
                ...further,
                {
                  name: 'envoy.filters.http.router',
                  typed_config: { '@type': `${HTTP}.router.v3.Router`, suppress_envoy_headers: true },
                },
              ],
            },
          },
        ],
      },
    ],
  };
}

/**
 * @param internal names of the listeners that have no socket, by the address that they would have
 * @returns `envoy.config.cluster.v3.Cluster` as JSON, one for each service and one for everything else
 */
export function proxyClusters(
  services: readonly ReachableService[],
  internal: ReadonlyMap<string, string>,
): JsonObject[] {
  return [
    ...services.flatMap((service) => {
      const { address, port } = service;
      if (address === undefined) return [];
      const name = clusterOf(service);
      const listener = internal.get(`${address}:${port}`);
      const endpoint: JsonObject =
        listener === undefined
          ? { address: { socket_address: { address, port_value: port } } }
          : { address: { envoy_internal_address: { server_listener_name: listener, endpoint_id: name } } };
      const load_assignment = { cluster_name: name, endpoints: [{ lb_endpoints: [{ endpoint }] }] };
      return [{ name, type: 'STATIC', connect_timeout: '5s', load_assignment }];
    }),
    {
      name: ELSEWHERE,
      lb_policy: 'CLUSTER_PROVIDED',
      connect_timeout: '10s',
      cluster_type: {
        name: 'envoy.clusters.dynamic_forward_proxy',
        typed_config: { '@type': FORWARD, dns_cache_config: DNS_CACHE },
      },
    },
  ];
}

/**
 * @param clusterDomain names below it are the mesh's, granted or not
 * @returns `envoy.config.route.v3.RouteConfiguration` as JSON
 */
export function proxyRoutes(services: readonly ReachableService[], clusterDomain: string): JsonObject {
  const reachable = services.map((service) => `${shortName(service)}:${service.port}`);
  const known =
    reachable.length === 0
      ? 'and neither is any other service now; ask your platform team for a grant.'
      : `you may reach ${reachable.slice(0, 20).join(', ')}` +
        (reachable.length > 20 ? ` and ${reachable.length - 20} more (meshpass status)` : '');
  const text = `meshpass: %REQ(:AUTHORITY)% is not granted to you${reachable.length === 0 ? ', ' : '; '}${literal(known)}\n`;
  const refuse = {
    direct_response: { status: 403, body_format: { text_format_source: { inline_string: text } } },
    response_headers_to_add: [code('agent_service_unknown')],
  };
  const refused: JsonObject[] = [
    { match: { connect_matcher: {} }, ...refuse },
    { match: { prefix: '/' }, ...refuse },
  ];
  const hosts = Map.groupBy(services, ({ host }) => host);
  return {
    name: NAME,
    // The port decides within a host: of a request for port 80 it may be missing.
    ignore_port_in_host_matching: true,
    request_headers_to_remove: ['proxy-authorization', 'proxy-connection', 'x-forwarded-proto', 'x-request-id'],
    virtual_hosts: [
      ...[...hosts].map(([host, ofHost]) => ({
        name: host,
        domains: [host, ...ofHost[0]!.aliases],
        routes: [...ofHost.flatMap((service) => routesTo(clusterOf(service), service.port)), ...refused],
      })),
      { name: 'not granted', domains: [`*.svc.${clusterDomain}`, '*.svc'], routes: refused },
      { name: 'elsewhere', domains: ['*'], routes: routesTo(ELSEWHERE) },
    ],
  };
}

function routesTo(cluster: string, port?: number): JsonObject[] {
  const authority = `[^:]*${port === 80 ? '(:80)?' : `:${port}`}`;
  const headers =
    port === undefined ? [] : [{ name: ':authority', string_match: { safe_regex: { regex: authority } } }];
  return [
    {
      match: { connect_matcher: {}, headers },
      route: { cluster, timeout: '0s', upgrade_configs: [{ upgrade_type: 'CONNECT', connect_config: {} }] },
    },
    { match: { prefix: '/', headers }, route: { cluster, timeout: '0s' } },
  ];
}

/** Answers of the proxy itself. */
function ownReplies(): JsonObject[] {
  return [
    ...replies(isStatus(401), {
      code: 'agent_proxy_unauthorized',
      text:
        'This proxy belongs to one run of the agent and asks for its secret: eval "$(meshpass env)" sets it. For a container, ' +
        'meshpass env --container in the workspace prints it.',
      more: {
        status_code: 407,
        headers_to_add: [
          code('agent_proxy_unauthorized'),
          { header: { key: 'proxy-authenticate', value: 'Basic realm="meshpass"' } },
        ],
      },
    }),
    ...replies(
      { response_flag_filter: { flags: ['UF', 'UH', 'DF', 'UC', 'NC'] } },
      {
        code: 'agent_direct_unreachable',
        text:
          '%REQ(:AUTHORITY)% could not be reached (%RESPONSE_CODE_DETAILS%). If it is a service of the mesh, it is not granted to ' +
          'you: meshpass status lists those that are.',
        more: { status_code: 502 },
      },
    ),
  ];
}

function clusterOf({ host, port }: ReachableService): string {
  return `${NAME}/${host}:${port}`;
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen({ host: '127.0.0.1', port: 0 }, () => {
      const { port } = server.address() as { readonly port: number };
      server.close(() => resolve(port));
    });
  });
}
