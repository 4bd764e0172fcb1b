/**
 * The configuration source of a workspace's Envoy. The agent serves Envoy's secrets and receives its access logs. The
 * broker, the agent and the gate must agree on these values.
 */
import type { JsonObject } from '@bufbuild/protobuf';

/** The name of the cluster that Envoy uses to connect to the agent. */
export const AGENT_CLUSTER = 'agent';

/**
 * The `envoy.config.core.v3.ConfigSource` of every secret. A configuration must not use any other source for secrets.
 */
export const AGENT_CONFIG_SOURCE: JsonObject = {
  resource_api_version: 'V3',
  api_config_source: {
    api_type: 'GRPC',
    transport_api_version: 'V3',
    grpc_services: [{ envoy_grpc: { cluster_name: AGENT_CLUSTER } }],
  },
};
