/** The rules for HTTP filters and their per-route settings. */
import type { AllowList } from './rule.ts';

export const CONNECTION_MANAGER = 'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager';
export const ROUTER = 'envoy.extensions.filters.http.router.v3.Router';
const FAULT = 'envoy.extensions.filters.http.fault.v3.';
const COMMON_FAULT = 'envoy.extensions.filters.common.fault.v3.';
const CORS = 'envoy.extensions.filters.http.cors.v3.';
const GRPC_STATS = 'envoy.extensions.filters.http.grpc_stats.v3.FilterConfig';

export const HTTP_FILTERS: readonly string[] = [ROUTER, `${FAULT}HTTPFault`, `${CORS}Cors`, GRPC_STATS];
/** The types of the settings that these filters can have in a virtual host, route or weighted cluster. */
export const ROUTE_FILTERS: readonly string[] = [`${FAULT}HTTPFault`, `${CORS}CorsPolicy`];

export const HTTP_TYPES: AllowList = {
  [ROUTER]: { free: 'dynamic_stats start_child_span suppress_envoy_headers respect_expected_rq_timeout' },
  [GRPC_STATS]: { free: 'emit_filter_state stats_for_all_methods enable_upstream_stats' },
  [`${CORS}Cors`]: {},
  [`${CORS}CorsPolicy`]: {
    whole: true,
    free:
      'allow_origin_string_match allow_methods allow_headers expose_headers max_age allow_credentials filter_enabled ' +
      'shadow_enabled allow_private_network_access forward_not_matching_preflights',
  },
  [`${FAULT}HTTPFault`]: {
    whole: true,
    free: 'delay abort headers max_active_faults response_rate_limit disable_downstream_cluster_stats',
  },
  [`${FAULT}FaultAbort`]: {
    whole: true,
    oneOf: ['error_type'],
    free: 'http_status grpc_status header_abort percentage',
  },
  [`${FAULT}FaultAbort.HeaderAbort`]: {},
  [`${COMMON_FAULT}FaultDelay`]: {
    whole: true,
    oneOf: ['fault_delay_secifier'],
    free: 'fixed_delay header_delay percentage',
  },
  [`${COMMON_FAULT}FaultDelay.HeaderDelay`]: {},
  [`${COMMON_FAULT}FaultRateLimit`]: {
    whole: true,
    oneOf: ['limit_type'],
    free: 'fixed_limit header_limit percentage',
  },
  [`${COMMON_FAULT}FaultRateLimit.FixedLimit`]: { whole: true, free: 'limit_kbps' },
  [`${COMMON_FAULT}FaultRateLimit.HeaderLimit`]: {},
};
