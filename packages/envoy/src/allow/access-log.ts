/** Access logs: to the agent only. */
import { type AllowList, rule } from './rule.ts';
import { agentGrpc } from './sources.ts';

const CORE = 'envoy.config.core.v3.';
const LOG = 'envoy.config.accesslog.v3.';
const GRPC = 'envoy.extensions.access_loggers.grpc.v3.';
const CEL = 'envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter';

export const ACCESS_LOG_TYPES: AllowList = {
  [`${LOG}AccessLog`]: {
    ...{ whole: true, oneOf: ['config_type'], free: 'name filter' },
    fields: { typed_config: { any: [`${GRPC}HttpGrpcAccessLogConfig`, `${GRPC}TcpGrpcAccessLogConfig`] } },
  },
  [`${GRPC}HttpGrpcAccessLogConfig`]: {
    whole: true,
    free: 'common_config additional_request_headers_to_log additional_response_headers_to_log additional_response_trailers_to_log',
  },
  [`${GRPC}TcpGrpcAccessLogConfig`]: { whole: true, free: 'common_config' },
  [`${GRPC}CommonGrpcAccessLogConfig`]: {
    ...{
      whole: true,
      set: ['grpc_service'],
      free: 'log_name transport_api_version buffer_flush_interval buffer_size_bytes',
    },
    fields: { grpc_service: rule(agentGrpc, { leaf: true }) },
  },
  [`${LOG}AccessLogFilter`]: {
    ...{ whole: true, oneOf: ['filter_specifier'] },
    free:
      'status_code_filter duration_filter not_health_check_filter traceable_filter and_filter or_filter header_filter ' +
      'response_flag_filter grpc_status_filter extension_filter',
  },
  [`${LOG}StatusCodeFilter`]: { whole: true, free: 'comparison' },
  [`${LOG}DurationFilter`]: { whole: true, free: 'comparison' },
  [`${LOG}ComparisonFilter`]: { whole: true, free: 'op value' },
  [`${LOG}NotHealthCheckFilter`]: { whole: true },
  [`${LOG}TraceableFilter`]: { whole: true },
  [`${LOG}AndFilter`]: { whole: true, free: 'filters' },
  [`${LOG}OrFilter`]: { whole: true, free: 'filters' },
  [`${LOG}HeaderFilter`]: { whole: true, free: 'header' },
  [`${LOG}ResponseFlagFilter`]: { whole: true, free: 'flags' },
  [`${LOG}GrpcStatusFilter`]: { whole: true, free: 'statuses exclude' },
  [`${LOG}ExtensionFilter`]: {
    ...{ whole: true, oneOf: ['config_type'], free: 'name' },
    fields: { typed_config: { any: [CEL] } },
  },
  [CEL]: { whole: true, free: 'expression' },
  [`${CORE}RuntimeUInt32`]: { whole: true, free: 'default_value runtime_key' },
};
