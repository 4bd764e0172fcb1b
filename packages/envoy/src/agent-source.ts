/**
 * Config source for a workspace's Envoy. The agent serves Envoy's secrets and receives its access logs. Broker, agent
 * and gate must agree on these values.
 */
import type { JsonObject } from '@bufbuild/protobuf';

/** Name of the agent's cluster. */
export const AGENT_CLUSTER = 'agent';

/** `envoy.config.core.v3.ConfigSource` for every secret. A configuration must not contain any other. */
export const AGENT_CONFIG_SOURCE: JsonObject = {
  resource_api_version: 'V3',
  api_config_source: {
    api_type: 'GRPC',
    transport_api_version: 'V3',
    grpc_services: [{ envoy_grpc: { cluster_name: AGENT_CLUSTER } }],
  },
};
