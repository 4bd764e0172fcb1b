/** What Envoy is started with: where the agent is. Everything else, and every secret, comes from there. */
import { AGENT_CLUSTER } from '@meshpass/envoy/agent-source';

export interface BootstrapOptions {
  /** Unix socket of the agent: configuration, secrets and access log. */
  readonly agentSocket: string;
  /** Unix socket of Envoy's own administration, of mode 0600. */
  readonly adminSocket: string;
}

/** Connections that programs may have open at once: far more than a workspace needs, far fewer than its memory holds. */
const MAX_CONNECTIONS = 10_000;

/** @returns Envoy's bootstrap (`envoy.config.bootstrap.v3.Bootstrap`) as JSON; nothing in it is secret */
export function bootstrap({ agentSocket, adminSocket }: BootstrapOptions): string {
  const ads = { ads: {}, resource_api_version: 'V3' };
  return JSON.stringify({
    node: { id: 'meshpass-agent', cluster: 'workspace' },
    admin: { address: { pipe: { path: adminSocket, mode: 0o600 } } },
    bootstrap_extensions: [
      {
        name: 'envoy.bootstrap.internal_listener',
        typed_config: {
          '@type': 'type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener',
        },
      },
    ],
    overload_manager: {
      resource_monitors: [
        {
          name: 'envoy.resource_monitors.global_downstream_max_connections',
          typed_config: {
            '@type':
              'type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig',
            max_active_downstream_connections: MAX_CONNECTIONS,
          },
        },
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
          name: AGENT_CLUSTER,
          type: 'STATIC',
          connect_timeout: '5s',
          typed_extension_protocol_options: {
            'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
              '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
              explicit_http_config: { http2_protocol_options: {} },
            },
          },
          load_assignment: {
            cluster_name: AGENT_CLUSTER,
            endpoints: [{ lb_endpoints: [{ endpoint: { address: { pipe: { path: agentSocket } } } }] }],
          },
        },
      ],
    },
  });
}
