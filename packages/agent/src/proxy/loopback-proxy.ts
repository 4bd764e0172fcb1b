/**
 * Builds Envoy's configuration for the loopback proxy, which serves programs that cannot use service names. It accepts
 * CONNECT, and HTTP/1.1 requests in absolute form (RFC 9112 section 3.2.2). A request to a mesh service is forwarded to
 * the loopback listener of that service, and is then treated like a request by name. All other requests are sent as if
 * there were no proxy. The proxy requires a secret that is created for each run, because a Codespace may forward any
 * listening port to the internet.
 */
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import type { JsonObject } from '@bufbuild/protobuf';
import type { ReachableService } from '@meshpass/identity/wire';
import { httpAccessLog } from '../access-log/loggers.ts';
import { buildSingleEndpointCluster, buildSocketAddress, extension, httpChain, httpFilter } from '../envoy/json.ts';
import { code, escapeFormatText, localReplyMappers, shortName, statusCodeMatcher } from '../xds/http-filters.ts';
import { PROXY_USER } from './environment.ts';
import { addressCheckRouteConfig, addressFilter, outsideCluster } from './outside-address.ts';

const NAME = 'agent/proxy';
const ELSEWHERE = 'agent/elsewhere';
const DNS_CACHE: JsonObject = { name: ELSEWHERE, dns_lookup_family: 'ALL', max_hosts: 4_096 };
const BRIDGE = `${NAME}/bridge`;
const ELSEWHERE_FROM_BRIDGE = `${ELSEWHERE}/bridge`;
const FORWARD = 'clusters.dynamic_forward_proxy';

export interface LoopbackProxy {
  readonly port: number;
  /**
   * The secret of this run, which `meshpass env` adds to the proxy URL. Envoy's configuration only contains its hash.
   */
  readonly secret: string;
}

/**
 * Creates a proxy with a new secret.
 * @param port the port to listen on, or 0 for any free port
 */
export async function createLoopbackProxy(port: number): Promise<LoopbackProxy> {
  return { port: port === 0 ? await freePort() : port, secret: randomBytes(24).toString('base64url') };
}

/**
 * Builds the proxy's listeners: one for the workspace's own programs and, if there is a bridge address, one for
 * containers.
 * @returns an array of `envoy.config.listener.v3.Listener` in JSON
 */
export function proxyListeners(proxy: LoopbackProxy, bridgeAddress: string | undefined): JsonObject[] {
  // With this filter, Envoy can try every address that a name resolves to.
  const resolve = httpFilter('dynamic_forward_proxy', 'FilterConfig', { dns_cache_config: DNS_CACHE });
  const own = proxyListener(NAME, '127.0.0.1', proxy, resolve);
  if (bridgeAddress === undefined) return [own];
  return [own, proxyListener(BRIDGE, bridgeAddress, proxy, addressFilter())];
}

/** @param resolve the filter that resolves hosts outside the mesh */
function proxyListener(
  name: string,
  address: string,
  { port, secret }: LoopbackProxy,
  resolve: JsonObject,
): JsonObject {
  const digest = createHash('sha1').update(secret).digest('base64');
  return {
    name,
    address: buildSocketAddress(address, port),
    enable_reuse_port: false,
    filter_chains: httpChain({
      stat_prefix: name,
      rds: { route_config_name: name, config_source: { ads: {}, resource_api_version: 'V3' } },
      // The proxy is transparent, so it forwards requests from programs unchanged.
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
        httpFilter('basic_auth', 'BasicAuth', {
          users: { inline_string: `${PROXY_USER}:{SHA}${digest}` },
          authentication_header: 'Proxy-Authorization',
        }),
        resolve,
        httpFilter('router', 'Router', { suppress_envoy_headers: true }),
      ],
    }),
  };
}

/**
 * Builds the proxy's clusters.
 * @param internal the names of listeners that have no socket, by the address that they would have
 * @returns an array of `envoy.config.cluster.v3.Cluster` in JSON: one per service, and one per listener for all other
 *   hosts
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
      const at: JsonObject =
        listener === undefined
          ? buildSocketAddress(address, port)
          : { envoy_internal_address: { server_listener_name: listener, endpoint_id: name } };
      return [{ ...buildSingleEndpointCluster(name, at), type: 'STATIC', connect_timeout: '5s' }];
    }),
    {
      name: ELSEWHERE,
      lb_policy: 'CLUSTER_PROVIDED',
      connect_timeout: '10s',
      cluster_type: extension(`envoy.${FORWARD}`, `extensions.${FORWARD}.v3.ClusterConfig`, {
        dns_cache_config: DNS_CACHE,
      }),
    },
    outsideCluster(ELSEWHERE_FROM_BRIDGE),
  ];
}

/**
 * Builds the proxy's routes.
 * @param clusterDomain the domain whose names always belong to the mesh, whether or not they are granted
 * @param contact the contact for access requests. Defaults to the platform team
 * @returns an array of `envoy.config.route.v3.RouteConfiguration` in JSON, one per listener
 */
export function proxyRoutes(
  services: readonly ReachableService[],
  clusterDomain: string,
  contact = 'your platform team',
): JsonObject[] {
  const refused = refusingRoutes(services, contact);
  const hosts = [...Map.groupBy(services, ({ host }) => host)].map(([host, ofHost]) => ({
    name: host,
    domains: [host, ...ofHost[0]!.aliases],
    routes: [...ofHost.flatMap((service) => routesTo(clusterOf(service), service.port)), ...refused],
  }));
  const notGranted = { name: 'not granted', domains: [`*.svc.${clusterDomain}`, '*.svc'], routes: refused };
  const routesOf = (name: string, cluster: string, more: JsonObject = {}): JsonObject => ({
    name,
    // The routes match the port themselves, because requests to port 80 may omit it.
    ignore_port_in_host_matching: true,
    request_headers_to_remove: ['proxy-authorization', 'proxy-connection', 'x-forwarded-proto', 'x-request-id'],
    virtual_hosts: [...hosts, notGranted, { name: 'elsewhere', domains: ['*'], routes: routesTo(cluster), ...more }],
  });
  return [
    routesOf(NAME, ELSEWHERE),
    routesOf(BRIDGE, ELSEWHERE_FROM_BRIDGE, { typed_per_filter_config: addressCheckRouteConfig }),
  ];
}

/** Builds the routes for hosts in the mesh that are not granted, with a response that lists those that are. */
function refusingRoutes(services: readonly ReachableService[], contact: string): JsonObject[] {
  const reachable = services.map((service) => `${shortName(service)}:${service.port}`);
  const known =
    reachable.length === 0
      ? `, and neither is any other service. Ask ${contact} for a grant.`
      : `; you can reach ${reachable.slice(0, 20).join(', ')}` +
        (reachable.length > 20 ? ` and ${reachable.length - 20} more (meshpass status)` : '');
  const text = `meshpass: %REQ(:AUTHORITY)% is not granted to you${escapeFormatText(known)}\n`;
  const refuse = {
    direct_response: { status: 403, body_format: { text_format_source: { inline_string: text } } },
    response_headers_to_add: [code('agent_service_unknown')],
  };
  return [
    { match: { connect_matcher: {} }, ...refuse },
    { match: { prefix: '/' }, ...refuse },
  ];
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

/** Builds the error responses that the proxy itself generates. */
function ownReplies(): JsonObject[] {
  return [
    ...localReplyMappers(statusCodeMatcher(401), {
      code: 'agent_proxy_unauthorized',
      text:
        'This proxy requires the secret of the running agent. To set it, run eval "$(meshpass env)". For a container, run ' +
        'meshpass env --container in the workspace.',
      more: {
        status_code: 407,
        headers_to_add: [
          code('agent_proxy_unauthorized'),
          { header: { key: 'proxy-authenticate', value: 'Basic realm="meshpass"' } },
        ],
      },
    }),
    ...localReplyMappers(
      { response_flag_filter: { flags: ['UF', 'UH', 'DF', 'UC', 'NC'] } },
      {
        code: 'agent_direct_unreachable',
        text:
          'Cannot reach %REQ(:AUTHORITY)% (%RESPONSE_CODE_DETAILS%). If it is a service in the mesh, it is not granted to you. ' +
          'Run meshpass status to list the services that are.',
        more: { status_code: 502 },
      },
    ),
  ];
}

function clusterOf({ host, port }: ReachableService): string {
  return `${NAME}/${host}:${port}`;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  await once(server.close(), 'close');
  return port;
}
