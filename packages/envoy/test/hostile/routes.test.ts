import { describe, expect, it } from 'vitest';
import { type Honest, type Spoiled, spoil, typed } from './honest.ts';

const NAME = 'RouteConfiguration dev/8080';
const ROUTE = 'envoy.config.route.v3';
const HOST = `${NAME} | virtual_hosts[0]`;
const FIRST = `${HOST}.routes[0]`;
const OUTSIDE = 'outside';

/** Changes the first virtual host and its first route. */
function route(change: (route: Spoiled, host: Spoiled) => void): string[] {
  return spoil(({ routes }) => change(routes[0].virtual_hosts[0].routes[0], routes[0].virtual_hosts[0]));
}

function action(fields: Spoiled): string[] {
  return route(({ route: action }) => {
    Object.assign(action, fields);
  });
}

describe('a route to anything but a cluster of the session is refused', () => {
  const unknown = (name: string) => `name ${JSON.stringify(name)} does not start with one of the session's grants`;
  const names = [
    'agent',
    'edge/dev',
    'edge/x',
    'tunnel/dev',
    'PassthroughCluster',
    'other/x',
    '/x',
    'dev',
    'dev/',
    'dev/a b',
    `dev/${'x'.repeat(600)}`,
  ];
  it.each(names)('cluster %s', (cluster) => {
    expect(action({ cluster })).toEqual([
      `${FIRST}.route.cluster | ${ROUTE}.RouteAction.cluster: name ${JSON.stringify(cluster.length > 120 ? `${cluster.slice(0, 120)}...` : cluster)} does not start with one of the session's grants`,
    ]);
  });

  it('a mirror', () => {
    expect(action({ request_mirror_policies: [{ cluster: OUTSIDE }] })).toEqual([
      `${FIRST}.route.request_mirror_policies[0].cluster | ${ROUTE}.RouteAction.RequestMirrorPolicy.cluster: ${unknown(OUTSIDE)}`,
    ]);
  });

  it('a weight', () => {
    const refused = route((one) => {
      one.route = { weighted_clusters: { clusters: [{ name: OUTSIDE, weight: 1 }] } };
    });
    expect(refused).toEqual([
      `${FIRST}.route.weighted_clusters.clusters[0].name | ${ROUTE}.WeightedCluster.ClusterWeight.name: ${unknown(OUTSIDE)}`,
    ]);
  });

  const elsewhere: Spoiled = {
    cluster_header: 'x-cluster',
    cluster_specifier_plugin: 'x',
    inline_cluster_specifier_plugin: {
      extension: { name: 'x', typed_config: typed('envoy.extensions.router.cluster_specifiers.lua.v3.LuaConfig') },
    },
  };
  it.each(Object.keys(elsewhere))('%s', (field) => {
    const refused = route((one) => {
      one.route = { [field]: elsewhere[field] };
    });
    expect(refused).toEqual([`${FIRST}.route.${field} | ${ROUTE}.RouteAction.${field}: the field is not accepted`]);
  });

  it('a weight with cluster_header, or a mirror with one', () => {
    const weight = route((one) => {
      one.route = { weighted_clusters: { clusters: [{ cluster_header: 'x', weight: 1 }] } };
    });
    const mirror = action({ request_mirror_policies: [{ cluster_header: 'x' }] });
    expect([...weight, ...mirror]).toEqual([
      `${FIRST}.route.weighted_clusters.clusters[0].cluster_header | ${ROUTE}.WeightedCluster.ClusterWeight.cluster_header: the field is not accepted`,
      `${FIRST}.route.request_mirror_policies[0].cluster_header | ${ROUTE}.RouteAction.RequestMirrorPolicy.cluster_header: the field is not accepted`,
    ]);
  });
});

describe('a route with a forbidden field is refused', () => {
  const fields: Spoiled = {
    internal_redirect_policy: { max_internal_redirects: 100 },
    host_rewrite_header: 'x-host',
    auto_host_rewrite: true,
    path_rewrite_policy: { name: 'x', typed_config: typed('x.y.Z') },
    early_data_policy: { name: 'x', typed_config: typed('x.y.Z') },
    metadata_match: { filter_metadata: { 'envoy.lb': { x: 'y' } } },
    upgrade_configs: [{ upgrade_type: 'CONNECT', connect_config: {} }],
    rate_limits: [{ actions: [{ remote_address: {} }] }],
    hedge_policy: { hedge_on_per_try_timeout: true },
    cors: { allow_methods: 'GET' },
  };
  it.each(Object.keys(fields))('%s', (field) => {
    expect(action({ [field]: fields[field] })).toEqual([
      `${FIRST}.route.${field} | ${ROUTE}.RouteAction.${field}: the field is not accepted`,
    ]);
  });

  it.each(['filter_action', 'non_forwarding_action'])('%s', (field) => {
    const refused = route((one) => {
      delete one.route;
      one[field] = {};
    });
    expect(refused).toEqual([`${FIRST}.${field} | ${ROUTE}.Route.${field}: the field is not accepted`]);
  });

  const matches: Spoiled = {
    connect_matcher: {},
    path_match_policy: {
      name: 'x',
      typed_config: typed('envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig'),
    },
  };
  it.each(Object.keys(matches))('match %s', (field) => {
    const refused = route((one) => {
      one.match = { [field]: matches[field] };
    });
    expect(refused).toEqual([`${FIRST}.match.${field} | ${ROUTE}.RouteMatch.${field}: the field is not accepted`]);
  });

  it.each(['dynamic_metadata', 'filter_state', 'tls_context'])('match %s', (field) => {
    const refused = route((one) => {
      one.match[field] = field === 'tls_context' ? { presented: true } : [{}];
    });
    expect(refused).toEqual([`${FIRST}.match.${field} | ${ROUTE}.RouteMatch.${field}: the field is not accepted`]);
  });

  it('runtime keys', () => {
    const refused = route((one) => {
      one.match.runtime_fraction = { default_value: { numerator: 1 }, runtime_key: 'x' };
    });
    expect(refused).toEqual([
      `${FIRST}.match.runtime_fraction.runtime_key | envoy.config.core.v3.RuntimeFractionalPercent.runtime_key: the field is not accepted`,
    ]);
  });

  it('a text matcher with code', () => {
    const custom = { name: 'x', typed_config: typed('envoy.extensions.string_matcher.lua.v3.Lua') };
    const refused = route((one) => {
      one.match.headers = [{ name: 'x', string_match: { custom } }];
    });
    expect(refused).toEqual([
      `${FIRST}.match.headers[0].string_match.custom | envoy.type.matcher.v3.StringMatcher.custom: the field is not accepted`,
    ]);
  });

  it('a regular expression that is long', () => {
    const refused = route((one) => {
      one.match = { safe_regex: { regex: '(a{1,1000}){1,1000}'.repeat(60) } };
    });
    expect(refused).toEqual([
      `${FIRST}.match.safe_regex.regex | envoy.type.matcher.v3.RegexMatcher.regex: text of 1140 characters; at most 1024 are accepted`,
    ]);
  });

  it.each(['retry_options_predicates', 'rate_limited_retry_back_off'])('retry policy: %s', (field) => {
    const value =
      field === 'retry_options_predicates'
        ? [{ name: 'x', typed_config: typed('x.y.Z') }]
        : { reset_headers: [{ name: 'x' }] };
    expect(action({ retry_policy: { retry_on: '5xx', [field]: value } })).toEqual([
      `${FIRST}.route.retry_policy.${field} | ${ROUTE}.RetryPolicy.${field}: the field is not accepted`,
    ]);
  });

  it('per-filter configuration of an unknown type, of the wrapper, and of the agent', () => {
    const config = (key: string, type: string) =>
      route((one) => {
        one.typed_per_filter_config = { [key]: typed(type) };
      });
    const at = (key: string) => `${FIRST}.typed_per_filter_config[${JSON.stringify(key)}]`;
    const lua = 'envoy.extensions.filters.http.lua.v3.LuaPerRoute';
    expect([
      ...config('lua', lua),
      ...config('x', `${ROUTE}.FilterConfig`),
      ...config('meshpass.token', 'envoy.extensions.filters.http.fault.v3.HTTPFault'),
    ]).toEqual([
      `${at('lua')} | type.googleapis.com/${lua}: the type is not accepted here`,
      `${at('x')} | type.googleapis.com/${ROUTE}.FilterConfig: the type is not accepted here`,
      `${at('meshpass.token')} | ${ROUTE}.Route.typed_per_filter_config: name "meshpass.token" is reserved for the agent`,
    ]);
  });

  const configuration: Spoiled = {
    vhds: { config_source: { ads: {}, resource_api_version: 'V3' } },
    cluster_specifier_plugins: [{ extension: { name: 'x', typed_config: typed('x.y.Z') } }],
  };
  it.each(Object.keys(configuration))('%s', (field) => {
    const refused = spoil(({ routes }: Honest) => {
      routes[0][field] = configuration[field];
    });
    expect(refused).toEqual([`${NAME} | ${field} | ${ROUTE}.RouteConfiguration.${field}: the field is not accepted`]);
  });

  it('a virtual host with a tree of matchers', () => {
    const refused = route((_, host) => {
      host.matcher = { on_no_match: {} };
    });
    expect(refused).toEqual([`${HOST}.matcher | ${ROUTE}.VirtualHost.matcher: the field is not accepted`]);
  });
});

describe('a response from a file or the environment is refused', () => {
  const sources: [string, Spoiled][] = [
    ['filename', '/etc/passwd'],
    ['environment_variable', 'GITHUB_TOKEN'],
  ];
  it.each(sources)('%s', (field, value) => {
    const refused = route((one) => {
      delete one.route;
      one.direct_response = { status: 200, body: { [field]: value } };
    });
    expect(refused).toEqual([
      `${FIRST}.direct_response.body.${field} | envoy.config.core.v3.DataSource.${field}: the field is not accepted`,
    ]);
  });

  it('a body with a format', () => {
    const refused = route((one) => {
      delete one.route;
      one.direct_response = { status: 200, body_format: { text_format_source: { filename: '/etc/passwd' } } };
    });
    expect(refused).toEqual([
      `${FIRST}.direct_response.body_format | ${ROUTE}.DirectResponseAction.body_format: the field is not accepted`,
    ]);
  });

  it('a large body', () => {
    const refused = route((one) => {
      delete one.route;
      one.direct_response = { status: 200, body: { inline_bytes: Buffer.alloc(65_537).toString('base64') } };
    });
    expect(refused).toEqual([
      `${FIRST}.direct_response.body.inline_bytes | envoy.config.core.v3.DataSource.inline_bytes: text of 65537 characters; at most 65536 are accepted`,
    ]);
  });
});
