/** The route of a request in Envoy's configuration; unsupported conditions make the result unknown. */
import { CLUSTER, LISTENER, messageFromJson, pack } from '@meshpass/envoy';
import { describe, expect, it } from 'vitest';
import { createExplainResponse } from '../../src/explain/answer.ts';
import { findRoute } from '../../src/explain/route.ts';
import { evaluateRouteMatch } from '../../src/explain/route-match.ts';
import type { EnvoyResources } from '../../src/xds/discovery.ts';

const request = (path: string, more: object = {}) => ({
  method: 'GET',
  path,
  authority: 'orders.shop:8080',
  headers: {} as Record<string, string>,
  ...more,
});
const canary = { headers: { 'x-version': 'v2' } };

describe('a match', () => {
  it.each([
    ['a prefix', { prefix: '/orders' }, request('/orders/1?a=b'), 'yes'],
    ['another prefix', { prefix: '/orders' }, request('/order'), 'no'],
    ['an exact path, regardless of the query', { path: '/orders' }, request('/orders?a=b'), 'yes'],
    ['an exact path with a suffix', { path: '/orders' }, request('/orders/1'), 'no'],
    ['a path regardless of case', { path: '/Orders', case_sensitive: false }, request('/orDers'), 'yes'],
    ['whole segments', { path_separated_prefix: '/orders' }, request('/orders/1'), 'yes'],
    ['half a segment', { path_separated_prefix: '/orders' }, request('/orders1'), 'no'],
    ['a plain expression', { safe_regex: { regex: '/orders/[0-9]+' } }, request('/orders/12'), 'yes'],
    ['an expression for a part only', { safe_regex: { regex: '/orders' } }, request('/orders/12'), 'no'],
    ['an expression that only RE2 supports', { safe_regex: { regex: '(?i)/orders' } }, request('/orders'), 'unknown'],
    ['an expression that may never finish', { safe_regex: { regex: '(a*)*b' } }, request('/aaaa'), 'unknown'],
    [
      'an expression of alternatives only',
      { safe_regex: { regex: `/${'(a|a)'.repeat(50)}` } },
      request(`/${'a'.repeat(50)}b`),
      'unknown',
    ],
    [
      'an expression of options only',
      { safe_regex: { regex: `/${'[a]?'.repeat(50)}b` } },
      request(`/${'a'.repeat(50)}`),
      'unknown',
    ],
    [
      'an expression with many repetitions on a long path',
      { safe_regex: { regex: '/.*a.*a.*b' } },
      request(`/${'a'.repeat(250)}`),
      'unknown',
    ],
    ['a few alternatives', { safe_regex: { regex: '/(v1|v2|v3)/.*' } }, request('/v2/orders'), 'yes'],
    [
      'a header',
      { prefix: '/', headers: [{ name: 'X-Version', string_match: { exact: 'v2' } }] },
      request('/', canary),
      'yes',
    ],
    [
      'an absent header',
      { prefix: '/', headers: [{ name: 'x-version', string_match: { exact: 'v2' } }] },
      request('/'),
      'no',
    ],
    ['a method', { prefix: '/', headers: [{ name: ':method', string_match: { exact: 'GET' } }] }, request('/'), 'yes'],
    [
      'another method',
      { prefix: '/', headers: [{ name: ':method', string_match: { exact: 'GET' }, invert_match: true }] },
      request('/'),
      'no',
    ],
    [
      'a header required to be absent',
      { prefix: '/', headers: [{ name: 'x-version', present_match: true, invert_match: true }] },
      request('/'),
      'yes',
    ],
    [
      'a range',
      { prefix: '/', headers: [{ name: 'x', range_match: { start: '1', end: '2' } }] },
      request('/'),
      'unknown',
    ],
    [
      'a parameter',
      { prefix: '/', query_parameters: [{ name: 'v', string_match: { exact: '2' } }] },
      request('/?v=2'),
      'yes',
    ],
    ['a fraction of requests', { prefix: '/', runtime_fraction: {} }, request('/'), 'unknown'],
    ['a fraction of other requests', { prefix: '/x', runtime_fraction: {} }, request('/'), 'no'],
  ])('by %s', (_, match, asked, expected) => {
    expect(evaluateRouteMatch(match, asked)).toBe(expected);
  });
});

const HOST = 'orders.shop.svc.cluster.local';
const cluster = (subset: string, host = HOST) => `dev/outbound|8080|${subset}|${host}`;
const istio = (name: string) => ({
  filter_metadata: { istio: { config: `/apis/networking.istio.io/v1/namespaces/shop/virtual-service/${name}` } },
});
const configuration = (routes: object[]) => ({ virtual_hosts: [{ domains: [HOST, 'orders.shop'], routes }] });

describe('a route', () => {
  it('is the first match, identified by its VirtualService', () => {
    const routes = configuration([
      {
        match: { prefix: '/', headers: [{ name: 'x-version', string_match: { exact: 'v2' } }] },
        route: { cluster: cluster('v2') },
        metadata: istio('canary'),
      },
      {
        match: { prefix: '/' },
        route: {
          weighted_clusters: {
            clusters: [
              { name: cluster('v1'), weight: 90 },
              { name: cluster('v2'), weight: 10 },
            ],
          },
        },
      },
    ]);
    expect(findRoute(routes, request('/', canary))).toEqual({
      kind: 'forward',
      rule: 'shop/canary',
      to: [{ host: HOST, port: 8080, subset: 'v2' }],
      notes: ['a call with other headers may take a different route'],
    });
    expect(findRoute(routes, request('/'))).toMatchObject({
      to: [
        { subset: 'v1', weight: 90 },
        { subset: 'v2', weight: 10 },
      ],
    });
  });

  it('outside the grants is a refusal, while a direct response of the mesh is not', () => {
    const said = {
      error: 'access_denied',
      error_code: 'agent_route_not_granted',
      error_description: 'VirtualService shop/x leads away.',
    };
    const answer = (text: string) =>
      findRoute(
        configuration([{ match: { prefix: '/' }, direct_response: { status: 403, body: { inline_string: text } } }]),
        request('/'),
      );
    expect(answer(JSON.stringify(said))).toMatchObject({
      kind: 'answer',
      status: 403,
      refusal: { code: 'agent_route_not_granted', description: 'VirtualService shop/x leads away.' },
    });
    expect(answer('gone')).toEqual({ kind: 'answer', status: 403, notes: [] });
  });

  it('rewrites the path if that is simple, and otherwise reports it as unknown', () => {
    const rewriting = (route: object) =>
      findRoute(
        configuration([{ match: { prefix: '/v1/' }, route: { cluster: cluster(''), ...route } }]),
        request('/v1/orders'),
      );
    expect(rewriting({ prefix_rewrite: '/' })).toMatchObject({ path: '/orders' });
    expect(rewriting({ regex_rewrite: {} })).toMatchObject({ path: null });
  });

  it('is absent for a name that the routes lack, and unknown if a condition is', () => {
    expect(findRoute(configuration([]), request('/'))).toEqual({ kind: 'no-route', notes: [] });
    const routes = configuration([{ match: { prefix: '/', grpc: {} }, route: { cluster: cluster('') } }]);
    expect(findRoute(routes, request('/'))).toMatchObject({ kind: 'unknown' });
    const byHeader = configuration([{ match: { prefix: '/' }, route: { cluster_header: 'x' } }]);
    expect(findRoute(byHeader, request('/'))).toMatchObject({ kind: 'unknown' });
  });
});

describe('a cluster', () => {
  const service = {
    grant: 'dev',
    host: 'orders.shop.svc.cluster.local',
    port: 8080,
    address: '127.64.0.1',
    spiffe_ids: [],
    aliases: ['orders.shop'],
    protocol: 'tcp' as const,
  };
  const name = `dev/outbound|8080||${service.host}`;
  const endpoint = {
    endpoint: { address: { envoy_internal_address: { server_listener_name: 'tunnel', endpoint_id: name } } },
  };
  const proxy = {
    '@type': 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy',
    stat_prefix: 'orders',
    cluster: name,
  };
  const listener = messageFromJson(LISTENER, {
    name: 'dev/127.64.0.1_8080',
    filter_chains: [{ filters: [{ name: 'tcp', typed_config: proxy }] }],
  });
  const targets = (endpoints: object[] | undefined) => {
    const cluster = messageFromJson(CLUSTER, {
      name,
      load_assignment: { cluster_name: name, endpoints: (endpoints ?? []) as never },
    });
    const resources: EnvoyResources = {
      [LISTENER]: new Map([['dev/127.64.0.1_8080', pack(listener)]]),
      [CLUSTER]: new Map(endpoints ? [[name, pack(cluster)]] : []),
    };
    const credentials = {
      session: { id: 's', subject: 'github:1', login: 'alice', grants: ['dev'] },
      services: [service],
      mesh: { trust_domain: 'cluster.local', token_header: 'x' },
      svids: new Map(),
      identityToken: { value: '' },
    };
    const call = { host: 'orders.shop', port: 8080, method: 'GET', path: '/', headers: {} };
    const known = { resources, leftOut: [], listening: [], byProxyOnly: [] };
    const { dev } = createExplainResponse(credentials as never, known, call).routes;
    return dev?.kind === 'forward' ? dev.to : dev;
  };
  const { host, port } = service;

  it.each<[string, object[] | undefined, boolean]>([
    ['with an endpoint has one', [{ lb_endpoints: [endpoint] }], false],
    ['without an endpoint has none', [], true],
    ['with an empty locality has none', [{ lb_endpoints: [] }], true],
    ['that has not arrived counts as having one', undefined, false],
  ])('%s', (_, endpoints, isEmpty) => {
    expect(targets(endpoints)).toEqual([{ host, port, ...(isEmpty && { hasNoEndpoint: true }) }]);
  });
});
