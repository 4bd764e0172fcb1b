/** Where the Envoy of a workspace gets secrets and sends access logs: the agent. Broker, agent and gate must write the same. */
import type { JsonObject } from '@bufbuild/protobuf';

/** Name of the cluster that is the agent. */
export const AGENT_CLUSTER = 'agent';

/** `envoy.config.core.v3.ConfigSource` of every secret: this and nothing else may stand in a configuration. */
export const AGENT_SOURCE: JsonObject = {
  resource_api_version: 'V3',
  api_config_source: {
    ...{ api_type: 'GRPC', transport_api_version: 'V3' },
    grpc_services: [{ envoy_grpc: { cluster_name: AGENT_CLUSTER } }],
  },
};
