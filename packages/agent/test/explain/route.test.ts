/** Which route a request takes, by the configuration that Envoy has; what is not understood is said to be unknown. */
import { describe, expect, it } from 'vitest';
import { routeOf } from '../../src/explain/route.ts';
import { matches } from '../../src/explain/route-match.ts';

const request = (path: string, more: object = {}) => ({
  ...{ method: 'GET', path, authority: 'orders.shop:8080', headers: {} as Record<string, string> },
  ...more,
});
const canary = { headers: { 'x-version': 'v2' } };

describe('a match', () => {
  it.each([
    ['a prefix', { prefix: '/orders' }, request('/orders/1?a=b'), 'yes'],
    ['another prefix', { prefix: '/orders' }, request('/order'), 'no'],
    ['an exact path, without the query', { path: '/orders' }, request('/orders?a=b'), 'yes'],
    ['an exact path and more', { path: '/orders' }, request('/orders/1'), 'no'],
    ['a path without case', { path: '/Orders', case_sensitive: false }, request('/orDers'), 'yes'],
    ['whole segments', { path_separated_prefix: '/orders' }, request('/orders/1'), 'yes'],
    ['half a segment', { path_separated_prefix: '/orders' }, request('/orders1'), 'no'],
    ['a plain expression', { safe_regex: { regex: '/orders/[0-9]+' } }, request('/orders/12'), 'yes'],
    ['a part of it only', { safe_regex: { regex: '/orders' } }, request('/orders/12'), 'no'],
    ['an expression of RE2 alone', { safe_regex: { regex: '(?i)/orders' } }, request('/orders'), 'unknown'],
    ['an expression that may take for ever', { safe_regex: { regex: '(a*)*b' } }, request('/aaaa'), 'unknown'],
    [
      'one of alternatives alone',
      { safe_regex: { regex: `/${'(a|a)'.repeat(50)}` } },
      request(`/${'a'.repeat(50)}b`),
      'unknown',
    ],
    [
      'one of options alone',
      { safe_regex: { regex: `/${'[a]?'.repeat(50)}b` } },
      request(`/${'a'.repeat(50)}`),
      'unknown',
    ],
    [
      'one that repeats much in a long path',
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
      'no such header',
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
      'a header that must be absent',
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
    ['a share of requests', { prefix: '/', runtime_fraction: {} }, request('/'), 'unknown'],
    ['a share of others', { prefix: '/x', runtime_fraction: {} }, request('/'), 'no'],
  ])('by %s', (_, match, asked, expected) => {
    expect(matches(match, asked)).toBe(expected);
  });
});

const HOST = 'orders.shop.svc.cluster.local';
const cluster = (subset: string, host = HOST) => `dev/outbound|8080|${subset}|${host}`;
const istio = (name: string) => ({
  filter_metadata: { istio: { config: `/apis/networking.istio.io/v1/namespaces/shop/virtual-service/${name}` } },
});
const configuration = (routes: object[]) => ({ virtual_hosts: [{ domains: [HOST, 'orders.shop'], routes }] });

describe('a route', () => {
  it('is the first that matches, and is named by its VirtualService', () => {
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
    expect(routeOf(routes, request('/', canary))).toEqual({
      ...{ kind: 'forward', rule: 'shop/canary', to: [{ host: HOST, port: 8080, subset: 'v2' }] },
      notes: ['a call with other headers may take another route'],
    });
    expect(routeOf(routes, request('/'))).toMatchObject({
      to: [
        { subset: 'v1', weight: 90 },
        { subset: 'v2', weight: 10 },
      ],
    });
  });

  it('that leads out of the grants says so, and an answer of the mesh is no such refusal', () => {
    const said = {
      error: 'access_denied',
      error_code: 'agent_route_not_granted',
      error_description: 'VirtualService shop/x leads away.',
    };
    const answer = (text: string) =>
      routeOf(
        configuration([{ match: { prefix: '/' }, direct_response: { status: 403, body: { inline_string: text } } }]),
        request('/'),
      );
    expect(answer(JSON.stringify(said))).toMatchObject({
      kind: 'answer',
      status: 403,
      notGranted: 'VirtualService shop/x leads away.',
    });
    expect(answer('gone')).toEqual({ kind: 'answer', status: 403, notes: [] });
  });

  it('changes the path, where that is plain, and says that it does not know where it is not', () => {
    const rewriting = (route: object) =>
      routeOf(
        configuration([{ match: { prefix: '/v1/' }, route: { cluster: cluster(''), ...route } }]),
        request('/v1/orders'),
      );
    expect(rewriting({ prefix_rewrite: '/' })).toMatchObject({ path: '/orders' });
    expect(rewriting({ regex_rewrite: {} })).toMatchObject({ path: null });
  });

  it('is none for a name that the routes do not have, and unknown where a condition is', () => {
    expect(routeOf(configuration([]), request('/'))).toEqual({ kind: 'no-route', notes: [] });
    const routes = configuration([{ match: { prefix: '/', grpc: {} }, route: { cluster: cluster('') } }]);
    expect(routeOf(routes, request('/'))).toMatchObject({ kind: 'unknown' });
    const byHeader = configuration([{ match: { prefix: '/' }, route: { cluster_header: 'x' } }]);
    expect(routeOf(byHeader, request('/'))).toMatchObject({ kind: 'unknown' });
  });
});
