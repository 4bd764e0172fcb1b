/**
 * Tunnels that are open before the first call. A request on this listener has Envoy open a connection to its cluster: outer TLS, CONNECT,
 * inner TLS, and what the protocol begins with. Then it is refused here, by a filter behind the connection pool, so that nothing
 * of it is ever sent. The connection stays in the pool, where the first call finds it.
 */
import type { Message } from '@bufbuild/protobuf';
import { type Any, AnySchema } from '@bufbuild/protobuf/wkt';
import { AGENT_SOURCE, LISTENER, messageOf, pack, TYPE_URL_PREFIX } from '@meshpass/envoy';
import type { ReachableService } from '@meshpass/identity/wire';
import { NO_CREDENTIAL } from '../sds/secrets.ts';

/** Names the cluster that a request is for. */
export const CLUSTER_HEADER = 'x-meshpass-cluster';
export const WARM_UP = 'agent/warm-up';
/** Services: each tunnel takes memory at the edge, the gateway and the workload, and an edge has 32,768 connections for all workspaces. */
const MOST_SERVICES = 2;

const HTTP = 'envoy.extensions.filters.http';
const MANAGER = 'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager';

/**
 * Clusters of the first services that speak HTTP: of these a connection carries any request. One of a raw TCP service would already be
 * a client of the service.
 * @param clusters that Envoy has
 */
export function clustersToWarm(
  services: readonly ReachableService[],
  clusters: ReadonlySet<string>,
): readonly string[] {
  return services
    .filter(({ protocol }) => protocol !== 'tcp')
    .map(({ grant, host, port }) => `${grant}/outbound|${port}||${host}`)
    .filter((name) => clusters.has(name))
    .slice(0, MOST_SERVICES);
}

/** @param path of a Unix socket that only its owner can open. @returns `envoy.config.listener.v3.Listener` */
export function warmUpListener(path: string): Any {
  const router = messageOf(`${HTTP}.router.v3.Router`, { upstream_http_filters: [refusal] }) as RouterMessage;
  router.upstreamHttpFilters.push(filter('envoy.filters.http.upstream_codec', UPSTREAM_CODEC));
  const manager = messageOf(MANAGER, {
    stat_prefix: WARM_UP,
    route_config: {
      virtual_hosts: [
        {
          ...{ name: WARM_UP, domains: ['*'] },
          routes: [{ match: { prefix: '/' }, route: { cluster_header: CLUSTER_HEADER } }],
        },
      ],
    },
  }) as ManagerMessage;
  manager.httpFilters.push(filter('envoy.filters.http.router', pack(router)));
  const listener = messageOf(LISTENER, {
    name: WARM_UP,
    address: { pipe: { path, mode: 0o600 } },
    filter_chains: [{ filters: [{ name: 'envoy.filters.network.http_connection_manager' }] }],
  }) as ListenerMessage;
  listener.filterChains[0]!.filters[0]!.configType = { case: 'typedConfig', value: pack(manager) };
  return pack(listener);
}

/** Its credential is empty for ever: it lets nothing pass. */
const refusal = {
  name: 'meshpass.refuse',
  typed_config: {
    '@type': `${TYPE_URL_PREFIX}${HTTP}.credential_injector.v3.CredentialInjector`,
    credential: {
      name: 'envoy.http.injected_credentials.generic',
      typed_config: {
        '@type': `${TYPE_URL_PREFIX}envoy.extensions.http.injected_credentials.generic.v3.Generic`,
        credential: { name: NO_CREDENTIAL, sds_config: AGENT_SOURCE },
        header: 'x-meshpass-none',
      },
    },
  },
};

/** `UpstreamCodec`, which has no members. */
const UPSTREAM_CODEC: Any = {
  $typeName: AnySchema.typeName,
  typeUrl: `${TYPE_URL_PREFIX}${HTTP}.upstream_codec.v3.UpstreamCodec`,
  value: new Uint8Array(),
};

function filter(name: string, value: Any): HttpFilterMessage {
  const message = messageOf('envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter', { name });
  return Object.assign(message as HttpFilterMessage, { configType: { case: 'typedConfig', value } });
}

// What of Envoy's messages is changed here; the generated types are reflection only.
interface HttpFilterMessage extends Message {
  configType: { readonly case?: 'typedConfig'; readonly value?: Any };
}
interface RouterMessage extends Message {
  readonly upstreamHttpFilters: HttpFilterMessage[];
}
interface ManagerMessage extends Message {
  readonly httpFilters: HttpFilterMessage[];
}
interface ListenerMessage extends Message {
  readonly filterChains: readonly { readonly filters: HttpFilterMessage[] }[];
}
