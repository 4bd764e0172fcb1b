/**
 * Creates Envoy's bootstrap configuration. All it contains is the address of the agent, which provides the rest of the
 * configuration and all secrets.
 */
import { AGENT_CLUSTER } from '@meshpass/envoy/agent-source';
import { buildSingleEndpointCluster, extension, typedConfig } from './json.ts';

export interface BootstrapOptions {
  /** The Unix socket on which the agent serves the configuration, the secrets and the access log service. */
  readonly agentSocket: string;
  /** The Unix socket of Envoy's admin interface, which has mode 0600. */
  readonly adminSocket: string;
}

const PROTOCOL_OPTIONS = 'extensions.upstreams.http.v3.HttpProtocolOptions';
/**
 * The maximum number of open connections from programs. This is far more than a workspace needs, and far less than its
 * memory allows.
 */
const MAX_CONNECTIONS = 10_000;

/**
 * The runtime settings that Istio uses for every sidecar and that routes may depend on. Without the first one, Envoy
 * rejects any resource whose regular expression compiles to more than 100 instructions.
 */
const RUNTIME = {
  're2.max_program_size.error_level': '32768',
  'envoy.reloadable_features.http_reject_path_with_fragment': false,
  'envoy.reloadable_features.coalesce_lb_rebuilds_on_batch_update': false,
};

/**
 * Creates the bootstrap configuration.
 * @returns an `envoy.config.bootstrap.v3.Bootstrap` as JSON, which contains no secrets
 */
export function createBootstrap({ agentSocket, adminSocket }: BootstrapOptions): string {
  const ads = { ads: {}, resource_api_version: 'V3' };
  return JSON.stringify({
    node: { id: 'meshpass-agent', cluster: 'workspace' },
    admin: { address: { pipe: { path: adminSocket, mode: 0o600 } } },
    layered_runtime: { layers: [{ name: 'global config', static_layer: RUNTIME }] },
    bootstrap_extensions: [
      extension('envoy.bootstrap.internal_listener', 'extensions.bootstrap.internal_listener.v3.InternalListener'),
    ],
    overload_manager: {
      resource_monitors: [
        extension(
          'envoy.resource_monitors.global_downstream_max_connections',
          'extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig',
          { max_active_downstream_connections: MAX_CONNECTIONS },
        ),
      ],
    },
    dynamic_resources: {
      ads_config: {
        api_type: 'GRPC',
        transport_api_version: 'V3',
        grpc_services: [{ envoy_grpc: { cluster_name: AGENT_CLUSTER } }],
      },
      cds_config: ads,
      lds_config: ads,
    },
    static_resources: {
      clusters: [
        {
          ...buildSingleEndpointCluster(AGENT_CLUSTER, { pipe: { path: agentSocket } }),
          type: 'STATIC',
          connect_timeout: '5s',
          typed_extension_protocol_options: {
            [`envoy.${PROTOCOL_OPTIONS}`]: typedConfig(PROTOCOL_OPTIONS, {
              explicit_http_config: { http2_protocol_options: {} },
            }),
          },
        },
      ],
    },
  });
}
