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

  it('behind an accepted command, with a length, or in raw bytes', () => {
    const raw = Buffer.from('%ENVIRONMENT(X)%').toString('base64');
    for (const header of [
      { value: '%REQ(x)%%ENVIRONMENT(X)%' },
      { value: '%ENVIRONMENT(X):5%' },
      { value: '%%%ENVIRONMENT(X)%' },
      { raw_value: raw },
    ])
      expect(withHeader(header)).toEqual([expect.stringContaining('format command %ENVIRONMENT% is not accepted')]);
  });

  it('wherever a text is', () => {
    const places: ((routes: Spoiled) => void)[] = [
      (routes) => {
        routes.virtual_hosts[0].routes[0].decorator = { operation: '%ENVIRONMENT(X)%' };
      },
      (routes) => {
        routes.virtual_hosts[0].routes[0].redirect = { host_redirect: '%ENVIRONMENT(X)%' };
        delete routes.virtual_hosts[0].routes[0].route;
      },
      (routes) => {
        routes.virtual_hosts[0].routes[0].route.host_rewrite_literal = '%ENVIRONMENT(X)%';
      },
      (routes) => {
        routes.virtual_hosts[0].name = '%ENVIRONMENT(X)%';
      },
      (routes) => {
        routes.response_headers_to_add = [{ header: { key: 'x', value: '%ENVIRONMENT(X)%' } }];
      },
    ];
    for (const place of places)
      expect(spoil(({ routes }) => place(routes[0]))).toEqual([
        expect.stringContaining('format command %ENVIRONMENT% is not accepted'),
      ]);
  });

  it('but what is said of the request, and percent signs of paths, are accepted', () => {
    for (const value of ['%REQ(:PATH)%', '%DOWNSTREAM_REMOTE_ADDRESS%', '100%', '%%', '/%EF%BB%BF'])
      expect(withHeader({ value })).toEqual([]);
  });
});
