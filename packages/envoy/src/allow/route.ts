/** The rules for routes, which assign the requests of a service to clusters. */
import { type ReflectMessage, reflect } from '@bufbuild/protobuf/reflect';
import { createErrorRoute } from '../types.ts';
import { HEADER_NAME, HEADER_NAMES, HEADER_VALUE } from './format.ts';
import { ROUTE_FILTERS } from './http.ts';
import { clusterName, domain, filterName, ownName } from './names.ts';
import { type AllowList, extension, items, part, type Rule, rule } from './rule.ts';

const PREVIOUS_PRIORITIES = 'envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig';
const PREVIOUS_HOSTS = 'envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate';

const perFilter: Rule = { keys: filterName, each: true, any: ROUTE_FILTERS };
/** Header operations. Each of them can be removed without affecting other headers or routes. */
const HEADERS: Readonly<Record<string, Rule>> = {
  request_headers_to_add: { each: true },
  request_headers_to_remove: HEADER_NAMES,
  response_headers_to_add: { each: true },
  response_headers_to_remove: HEADER_NAMES,
};

function checkHost(host: ReflectMessage): string | undefined {
  if (items(host, 'domains').length === 0) return 'a virtual host requires a domain in the mesh';
  return items(host, 'routes').length === 0 ? 'a virtual host requires a route' : undefined;
}

const ROUTE_V3 = 'envoy.config.route.v3.';
const UNSUPPORTED = 502;

/**
 * Creates a direct response that takes the place of a rejected route. Without it, requests for that route would be
 * handled by later routes. If a condition of the route was rejected, the response also matches some requests that were
 * meant for later routes.
 */
function refusal(
  route: ReflectMessage,
  { what, reason }: { readonly what: string; readonly reason: string },
): ReflectMessage {
  const description = `A route of this service requires a feature that workspaces do not support (${what}: ${reason}).`;
  const answer = reflect(route.desc, createErrorRoute(UNSUPPORTED, 'agent_route_unsupported', description));
  const field = (name: string) => route.desc.fields.find((one) => one.name === name)!;
  for (const kept of ['metadata', 'match']) {
    const value = part(route, kept);
    if (value) answer.set(field(kept), value);
  }
  const match = part(answer, 'match')!;
  if (match.oneofCase(match.desc.oneofs[0]!) === undefined)
    match.set(match.desc.fields.find((one) => one.name === 'prefix')!, '/');
  return answer;
}
const ACTION = `${ROUTE_V3}RouteAction`;
const MATCHER = 'envoy.type.matcher.v3.';

export const ROUTE_TYPES: AllowList = {
  [`${ROUTE_V3}RouteConfiguration`]: {
    set: ['name'],
    free:
      'validate_clusters internal_only_headers most_specific_header_mutations_wins ' +
      'max_direct_response_body_size_bytes ignore_port_in_host_matching ignore_path_parameters_in_path_matching metadata',
    fields: {
      ...HEADERS,
      name: rule(ownName, { needed: true }),
      virtual_hosts: { each: true },
      request_mirror_policies: { each: true },
      typed_per_filter_config: perFilter,
    },
  },
  [`${ROUTE_V3}VirtualHost`]: {
    free:
      'name retry_policy include_request_attempt_count include_attempt_count_in_response ' +
      'include_is_timeout_retry_header per_request_buffer_limit_bytes metadata',
    fields: {
      ...HEADERS,
      domains: rule(domain, { each: true }),
      routes: { needed: true, instead: refusal },
      request_mirror_policies: { each: true },
      typed_per_filter_config: perFilter,
    },
    check: checkHost,
  },
  [`${ROUTE_V3}Route`]: {
    oneOf: ['action'],
    free: 'name decorator metadata per_request_buffer_limit_bytes',
    fields: {
      ...HEADERS,
      match: { needed: true },
      route: { needed: true },
      redirect: { needed: true },
      direct_response: { needed: true },
      typed_per_filter_config: perFilter,
    },
  },
  [`${ROUTE_V3}Decorator`]: { free: 'operation propagate' },
  [`${ROUTE_V3}RouteMatch`]: {
    whole: true,
    conditions: true,
    oneOf: ['path_specifier'],
    free: 'prefix path safe_regex path_separated_prefix case_sensitive headers query_parameters grpc runtime_fraction',
  },
  [`${ROUTE_V3}RouteMatch.GrpcRouteMatchOptions`]: { whole: true },
  [`${ROUTE_V3}HeaderMatcher`]: {
    whole: true,
    free: 'name string_match present_match range_match invert_match treat_missing_header_as_empty',
  },
  [`${ROUTE_V3}QueryParameterMatcher`]: { whole: true, free: 'name string_match present_match' },
  [`${MATCHER}StringMatcher`]: {
    whole: true,
    oneOf: ['match_pattern'],
    free: 'exact prefix suffix contains safe_regex ignore_case',
  },
  [`${MATCHER}RegexMatcher`]: { whole: true, free: 'google_re2 regex' },
  [`${MATCHER}RegexMatcher.GoogleRE2`]: { whole: true },
  [`${MATCHER}RegexMatchAndSubstitute`]: { whole: true, free: 'pattern substitution' },
  [ACTION]: {
    oneOf: ['cluster_specifier'],
    free:
      'cluster_not_found_response_code append_x_forwarded_host timeout idle_timeout priority max_stream_duration ' +
      'max_grpc_timeout grpc_timeout_offset retry_policy',
    fields: {
      cluster: rule(clusterName, { needed: true }),
      weighted_clusters: { needed: true },
      prefix_rewrite: { needed: true },
      regex_rewrite: { needed: true },
      host_rewrite_literal: { needed: true },
      request_mirror_policies: { each: true },
      hash_policy: { each: true },
    },
  },
  [`${ROUTE_V3}WeightedCluster`]: { free: 'total_weight', fields: { clusters: { needed: true } } },
  [`${ROUTE_V3}WeightedCluster.ClusterWeight`]: {
    fields: {
      ...HEADERS,
      name: rule(clusterName, { needed: true }),
      weight: { needed: true },
      host_rewrite_literal: { needed: true },
      typed_per_filter_config: perFilter,
    },
    set: ['name'],
  },
  [`${ACTION}.RequestMirrorPolicy`]: {
    whole: true,
    set: ['cluster'],
    free: 'runtime_fraction trace_sampled disable_shadow_host_suffix_append',
    fields: { cluster: rule(clusterName) },
  },
  [`${ACTION}.MaxStreamDuration`]: { free: 'max_stream_duration grpc_timeout_header_max grpc_timeout_header_offset' },
  [`${ACTION}.HashPolicy`]: {
    whole: true,
    oneOf: ['policy_specifier'],
    free: 'header cookie connection_properties query_parameter terminal',
  },
  [`${ACTION}.HashPolicy.Header`]: { whole: true, free: 'header_name regex_rewrite' },
  [`${ACTION}.HashPolicy.Cookie`]: { whole: true, free: 'name ttl path attributes' },
  [`${ACTION}.HashPolicy.CookieAttribute`]: { whole: true, free: 'name value' },
  [`${ACTION}.HashPolicy.ConnectionProperties`]: { whole: true, free: 'source_ip' },
  [`${ACTION}.HashPolicy.QueryParameter`]: { whole: true, free: 'name' },
  [`${ROUTE_V3}RetryPolicy`]: {
    free:
      'retry_on num_retries per_try_timeout per_try_idle_timeout host_selection_retry_max_attempts retry_priority ' +
      'retriable_status_codes retry_back_off retriable_headers retriable_request_headers',
    fields: { retry_host_predicate: { each: true } },
  },
  [`${ROUTE_V3}RetryPolicy.RetryBackOff`]: { whole: true, free: 'base_interval max_interval' },
  [`${ROUTE_V3}RetryPolicy.RetryPriority`]: extension([PREVIOUS_PRIORITIES]),
  [`${ROUTE_V3}RetryPolicy.RetryHostPredicate`]: extension([PREVIOUS_HOSTS]),
  [PREVIOUS_PRIORITIES]: { whole: true, free: 'update_frequency' },
  [PREVIOUS_HOSTS]: { whole: true },
  [`${ROUTE_V3}RedirectAction`]: {
    whole: true,
    free:
      'https_redirect scheme_redirect host_redirect port_redirect path_redirect prefix_rewrite regex_rewrite ' +
      'response_code strip_query',
  },
  [`${ROUTE_V3}DirectResponseAction`]: { whole: true, free: 'status body' },
  'envoy.config.core.v3.DataSource': { whole: true, oneOf: ['specifier'], free: 'inline_string inline_bytes' },
  'envoy.config.core.v3.HeaderValueOption': {
    whole: true,
    set: ['header'],
    free: 'header append append_action keep_empty_value',
  },
  'envoy.config.core.v3.HeaderValue': {
    whole: true,
    set: ['key'],
    fields: { key: HEADER_NAME, value: HEADER_VALUE, raw_value: HEADER_VALUE },
  },
};
