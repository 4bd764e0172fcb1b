/**
 * Config source of a workspace's Envoy. The agent serves its secrets and receives its access logs. Broker, agent and
 * gate must agree on these values.
 */
import type { JsonObject } from '@bufbuild/protobuf';

/** The agent's cluster name. */
export const AGENT_CLUSTER = 'agent';

/** `envoy.config.core.v3.ConfigSource` of every secret. A configuration may contain no other. */
export const AGENT_CONFIG_SOURCE: JsonObject = {
  resource_api_version: 'V3',
  api_config_source: {
    api_type: 'GRPC',
    transport_api_version: 'V3',
    grpc_services: [{ envoy_grpc: { cluster_name: AGENT_CLUSTER } }],
  },
};
