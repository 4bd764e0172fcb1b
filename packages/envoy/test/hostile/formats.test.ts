import { describe, expect, it } from 'vitest';
import { type Spoiled, spoil } from './honest.ts';

const FIRST = 'RouteConfiguration dev/8080 | virtual_hosts[0].routes[0]';
const HEADER = 'envoy.config.core.v3.HeaderValue';

function withHeader(header: Spoiled): string[] {
  return spoil(({ routes }) => {
    routes[0].virtual_hosts[0].routes[0].request_headers_to_add = [{ header: { key: 'x-out', ...header } }];
  });
}

describe('a format that reads from the workspace is refused', () => {
  const commands = [
    'ENVIRONMENT(GITHUB_TOKEN)',
    'FILE_CONTENT(/etc/passwd)',
    'SECRET(dev)',
    'FILTER_STATE(x)',
    'DYNAMIC_METADATA(x)',
    'CEL(x)',
    'HOSTNAME',
    'COALESCE({})',
    'NEW_IN_ENVOY',
  ];
  it.each(commands)('%%%s%%', (command) => {
    const name = /^[A-Z_]+/.exec(command)![0];
    expect(withHeader({ value: `a%${command}%b` })).toEqual([
      `${FIRST}.request_headers_to_add[0].header.value | ${HEADER}.value: format command %${name}% is not accepted`,
    ]);
  });

  it('after an accepted command, with a length, or in raw bytes', () => {
    const raw = Buffer.from('%ENVIRONMENT(X)%').toString('base64');
    for (const header of [
      { value: '%REQ(x)%%ENVIRONMENT(X)%' },
      { value: '%ENVIRONMENT(X):5%' },
      { value: '%%%ENVIRONMENT(X)%' },
      { raw_value: raw },
    ])
      expect(withHeader(header)).toEqual([expect.stringContaining('format command %ENVIRONMENT% is not accepted')]);
  });

  it('in every header operation of a route configuration, a virtual host, a route and a weighted cluster', () => {
    const add = [{ header: { key: 'x', value: '%ENVIRONMENT(X)%' } }];
    const places: ((routes: Spoiled) => Spoiled)[] = [
      (routes) => routes,
      (routes) => routes.virtual_hosts[0],
      (routes) => routes.virtual_hosts[0].routes[0],
      (routes) => {
        const { route } = routes.virtual_hosts[0].routes[0];
        route.weighted_clusters = { clusters: [{ name: route.cluster, weight: 1 }] };
        delete route.cluster;
        return route.weighted_clusters.clusters[0];
      },
    ];
    for (const place of places)
      for (const field of ['request_headers_to_add', 'response_headers_to_add'])
        expect(spoil(({ routes }) => Object.assign(place(routes[0]), { [field]: add }))).toEqual([
          expect.stringContaining('format command %ENVIRONMENT% is not accepted'),
        ]);
  });
});

describe('a format that reads the identity token is refused', () => {
  it.each([
    ['unchanged', { value: '%REQ(x-meshpass-token)%' }],
    ['in capitals', { value: '%REQ(X-Meshpass-TOKEN)%' }],
    ['as an alternative', { value: '%REQ(x-none?X-MESHPASS-TOKEN)%' }],
    ['before an alternative', { value: '%REQ(x-meshpass-token?x-none)%' }],
    ['a prefix of it', { value: 'https://evil.example/%REQ(x-meshpass-token):20%' }],
    ['after another command', { value: '%REQ(:path)%%REQ(x-meshpass-token)%' }],
    ['after a percent sign', { value: '%%%REQ(x-meshpass-token)%' }],
    ['in raw bytes', { raw_value: Buffer.from('%REQ(x-meshpass-token)%').toString('base64') }],
  ])('%s', (_, header) => {
    expect(withHeader(header)).toEqual([
      expect.stringContaining('format command %REQ% may not read the identity token'),
    ]);
  });

  it('accepts a format that reads any other header', () => {
    expect(withHeader({ value: '%REQ(x-meshpass-token-of-another)%%REQ(:PATH)%%REQ(x-a?:path):10%' })).toEqual([]);
  });
});

describe('a header that Envoy would reject is refused first, so that the other routes of the port remain', () => {
  it.each([
    '100%',
    '/caf%C3%A9BAR',
    '/%EF%BB%BF',
    '%REQ%',
    '%REQ()%',
    '%REQ(a?b?c)%',
    '%REQ(a b)%',
    '%REQ(a',
    '%req(a)%',
  ])('the value %s', (value) => expect(withHeader({ value })).toHaveLength(1));

  it.each(['%PROTOCOL(x)%', '%DURATION:3%', '%START_TIME(%Y):3%', 'a\r\nb', 'x'.repeat(16_385)])(
    'the value %j',
    (value) => expect(withHeader({ value })).toHaveLength(1),
  );

  it.each(['host', 'Host', ':authority', ':path', 'x y', ''])('the name %j', (key) => {
    expect(withHeader({ key, value: 'x' })).toHaveLength(1);
    const removed = spoil(({ routes }) => {
      routes[0].virtual_hosts[0].response_headers_to_remove = [key];
    });
    expect(removed).toHaveLength(1);
  });

  it('accepts request formats and doubled percent signs', () => {
    for (const value of ['%REQ(:PATH)%', '%DOWNSTREAM_REMOTE_ADDRESS%', '100%%', '%%', '%START_TIME(%Y-%m-%d)%', ''])
      expect(withHeader({ value })).toEqual([]);
  });

  it('accepts any percent sign in texts that are not formats', () => {
    const text = '/caf%C3%A9BAR/%ENVIRONMENT(X)%';
    const refused = spoil(({ routes }) => {
      const [route] = routes[0].virtual_hosts[0].routes;
      routes[0].virtual_hosts[0].name = text;
      Object.assign(route, { name: text, decorator: { operation: text }, match: { path: text } });
      Object.assign(route.route, { prefix_rewrite: text, host_rewrite_literal: text });
      const redirect = { match: { prefix: text }, redirect: { path_redirect: text, host_redirect: text } };
      const answer = { match: { prefix: text }, direct_response: { status: 200, body: { inline_string: text } } };
      routes[0].virtual_hosts[0].routes.push(redirect, answer);
    });
    expect(refused).toEqual([]);
  });
});
