/** Access loggers that the agent adds to Envoy's listeners. They only report failures. */
import type { JsonObject } from '@bufbuild/protobuf';
import { AGENT_CLUSTER } from '@meshpass/envoy';
import { extension } from '../envoy/json.ts';

/** Filter state key under which Envoy keeps the edge's CONNECT response. */
export const CONNECT_RESPONSE_KEY = 'envoy.tcp_proxy.propagate_response_headers';
/** Header that identifies the agent's own responses. */
export const ERROR_CODE_HEADER = 'x-meshpass-code';
const GRPC = 'extensions.access_loggers.grpc.v3';
const BUFFER = 16_384;
/** The agent's log name. Istio's Telemetry may also log to the agent, under other names. */
export const LOG_NAME = 'meshpass';

/** Logger for requests that failed or received an error response. */
export function httpAccessLog(): JsonObject {
  const comparison = { op: 'GE', value: { default_value: 400, runtime_key: 'meshpass.logged_from_status' } };
  return {
    ...extension('envoy.access_loggers.http_grpc', `${GRPC}.HttpGrpcAccessLogConfig`, {
      common_config: common(),
      additional_response_headers_to_log: [ERROR_CODE_HEADER],
    }),
    filter: { or_filter: { filters: [{ status_code_filter: { comparison } }, { response_flag_filter: {} }] } },
  };
}

/** Logger for failed connections. */
export function tcpAccessLog(): JsonObject {
  return {
    ...extension('envoy.access_loggers.tcp_grpc', `${GRPC}.TcpGrpcAccessLogConfig`, {
      common_config: { ...common(), filter_state_objects_to_log: [CONNECT_RESPONSE_KEY] },
    }),
    filter: { response_flag_filter: {} },
  };
}

function common(): JsonObject {
  return {
    log_name: LOG_NAME,
    transport_api_version: 'V3',
    grpc_service: { envoy_grpc: { cluster_name: AGENT_CLUSTER } },
    buffer_flush_interval: '0.2s',
    buffer_size_bytes: BUFFER,
  };
}
