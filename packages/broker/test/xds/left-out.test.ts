import type { JsonObject, JsonValue } from '@bufbuild/protobuf';
import { checkConfiguration } from '@meshpass/envoy';
import { describe, expect, it } from 'vitest';
import type { GrantSetConfiguration } from '../../src/mesh/xds/transform/merge.ts';
import {
  at,
  EXPECTED,
  find,
  managerOf,
  named,
  ORDERS_CLUSTER,
  ORDERS_LISTENER,
  ORDERS_ROUTES,
  text,
  transformed,
} from './istiod-answers.ts';

describe('additions of others by EnvoyFilters', () => {
  const SECRET = 'hunter2-of-another-team';
  const struct = { '@type': 'type.googleapis.com/google.protobuf.Struct', value: { key: SECRET } };

  it('is left out, named and counted', () => {
    const set = transformed(({ listeners, clusters, routes }) => {
      const listener = named(listeners, ORDERS_LISTENER);
      const manager = managerOf(listener);
      const lua = '@type=type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua'.slice('@type='.length);
      (manager.http_filters as JsonValue[]).unshift(
        { name: 'lua', typed_config: { '@type': lua, default_source_code: { inline_string: SECRET } } },
        { name: 'other', typed_config: struct },
      );
      manager.access_log = [
        {
          name: 'file',
          typed_config: {
            '@type': 'type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog',
            path: SECRET,
          },
        },
      ];
      listener.metadata = { filter_metadata: { team: { password: SECRET } } };
      at(listener, 'filter_chains', 0).metadata = { filter_metadata: { team: { password: SECRET } } };
      named(clusters, ORDERS_CLUSTER).metadata = { filter_metadata: { team: { password: SECRET } } };
      named(clusters, ORDERS_CLUSTER).upstream_bind_config = {
        source_address: { address: '10.9.9.9', port_value: 0 },
      };
      const host = at(named(routes, ORDERS_ROUTES), 'virtual_hosts', 0);
      host.metadata = { filter_metadata: { team: { password: SECRET } } };
      host.typed_per_filter_config = { other: struct };
    });
    expect(text(set)).not.toMatch(/hunter2|10\.9\.9\.9/);
    expect(checkConfiguration({ version: 1, ...set }, EXPECTED)).toEqual([]);
    const what = set.leftOut.map((one) => `${one.where} ${one.what}`).join('\n');
    for (const type of ['lua.v3.Lua', 'google.protobuf.Struct', 'HttpConnectionManager.access_log'])
      expect(what).toContain(type);
  });
});

describe('one detail that a workspace does not support disables no other', () => {
  const hosts = (routes: JsonObject[]) => named(routes, ORDERS_ROUTES).virtual_hosts as JsonObject[];
  /** The routes of the service: of each pair the second, which is not that of a WebSocket. */
  const routesOf = (set: GrantSetConfiguration) =>
    (at(find(set.routes, `dev/${ORDERS_ROUTES}`), 'virtual_hosts', 0).routes as JsonObject[]).filter(
      ({ match }) => !JSON.stringify(match).includes('"upgrade"'),
    );
  /** Adds routes before the route of the service. */
  const withRoutes = (...before: ((route: JsonObject) => JsonObject)[]) =>
    transformed(({ routes }) => {
      const [host] = hosts(routes);
      const own = host!.routes as JsonObject[];
      host!.routes = [...before.map((change) => change(structuredClone(own[0]!))), ...own];
    });
  const allowed = (set: GrantSetConfiguration) =>
    expect(checkConfiguration({ version: 1, ...set }, EXPECTED)).toEqual([]);
  const what = ({ leftOut }: GrantSetConfiguration) => leftOut.map((one) => one.what);
  const header = (key: string, value: string) => ({ header: { key, value } });

  it('an encoded path is a path', () => {
    const match = { path: '/caf%C3%A9BAR' };
    const before = what(withRoutes());
    const set = withRoutes((route) => ({ ...route, match }));
    expect(routesOf(set).map((one) => one.match)).toContainEqual(match);
    expect(what(set)).toEqual(before);
    allowed(set);
  });

  it('a header that may not be written is left out alone, and counted', () => {
    const set = withRoutes((route) => ({
      ...route,
      request_headers_to_add: [header('x-host', '%HOSTNAME%'), header('x-path', '%REQ(:PATH)%')],
      response_headers_to_add: [header('x-token', '%REQ(x-meshpass-token)%'), header('x-kept', 'yes')],
      response_headers_to_remove: ['x-version'],
    }));
    expect(routesOf(set)[0]).toMatchObject({
      request_headers_to_add: [header('x-path', '%REQ(:PATH)%')],
      response_headers_to_add: [header('x-kept', 'yes')],
      response_headers_to_remove: ['x-version'],
    });
    expect(set.leftOut).toContainEqual({
      what: 'envoy.config.core.v3.HeaderValue.value',
      where: 'RouteConfiguration',
      count: expect.any(Number),
    });
    allowed(set);
  });

  it.each<[string, JsonObject, JsonObject]>([
    [
      'an action',
      { route: { cluster: ORDERS_CLUSTER, host_rewrite_header: 'x-anywhere' } },
      { prefix: '/x', headers: [{ name: 'x-a', present_match: true }] },
    ],
    [
      'a condition',
      {
        match: {
          prefix: '/x',
          headers: [{ name: 'x-a', present_match: true }],
          filter_state: [{ key: 'k', string_match: { exact: 'v' } }],
        },
      },
      { prefix: '/x', headers: [{ name: 'x-a', present_match: true }] },
    ],
    [
      'one of several headers',
      {
        match: {
          prefix: '/x',
          headers: [
            { name: 'x-a', present_match: true },
            { name: 'x-b', string_match: { safe_regex: { regex: 'x'.repeat(2_000) } } },
          ],
        },
      },
      { prefix: '/x', headers: [{ name: 'x-a', present_match: true }] },
    ],
    [
      'the path',
      { match: { safe_regex: { regex: 'x'.repeat(2_000) }, headers: [{ name: 'x-a', present_match: true }] } },
      { prefix: '/', headers: [{ name: 'x-a', present_match: true }] },
    ],
  ])('a route is answered with 502, and its neighbours stay: %s', (_, change, match) => {
    const given = { prefix: '/x', headers: [{ name: 'x-a', present_match: true }] };
    const set = withRoutes(
      (route) => ({ ...route, match: { prefix: '/first' } }),
      (route) => ({ ...route, match: given, ...change }),
    );
    const [first, refused, own] = routesOf(set);
    expect(first).toMatchObject({ match: { prefix: '/first' }, route: { cluster: `dev/${ORDERS_CLUSTER}` } });
    expect(refused).toMatchObject({ match, direct_response: { status: 502 } });
    const { inline_string: body } = at(refused!, 'direct_response', 'body');
    expect(JSON.parse(String(body))).toMatchObject({ error_code: 'agent_route_unsupported' });
    expect(own).toMatchObject({ route: { cluster: `dev/${ORDERS_CLUSTER}` } });
    const count = (one: GrantSetConfiguration) =>
      (find(one.routes, `dev/${ORDERS_ROUTES}`).virtual_hosts as unknown[]).length;
    expect(count(set)).toBe(count(withRoutes()));
    allowed(set);
  });
});
