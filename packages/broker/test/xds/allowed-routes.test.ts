import type { JsonObject } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import { routeMatches } from '../../src/mesh/xds/transform/allowed-routes.ts';
import type { AllowedOperations } from '../../src/mesh/xds/transform/granted.ts';

interface Match {
  readonly path?: string;
  readonly prefix?: string;
  readonly safe_regex?: { readonly regex: string };
  readonly headers?: readonly Header[];
}

interface Header {
  readonly name: string;
  readonly invert_match?: boolean;
  readonly string_match: { readonly exact?: string; readonly safe_regex?: { readonly regex: string } };
}

/** Matches as Envoy does (config.route.v3.RouteMatch): the path without its query, headers with it, expressions whole. */
function allows(allowed: AllowedOperations, request: string): boolean {
  const [method = '', target = ''] = request.split(' ');
  const [path = ''] = target.split('?');
  const whole = (regex: string, text: string) => new RegExp(`^(?:${regex})$`, 'u').test(text);
  return (routeMatches(allowed) as readonly JsonObject[] as readonly Match[]).some(
    (match) =>
      (match.path === undefined || match.path === path) &&
      (match.prefix === undefined || path.startsWith(match.prefix)) &&
      (match.safe_regex === undefined || whole(match.safe_regex.regex, path)) &&
      (match.headers ?? []).every(({ name, invert_match = false, string_match }) => {
        const value = name === ':method' ? method : target;
        const { exact, safe_regex } = string_match;
        return (exact === undefined ? whole(safe_regex!.regex, value) : exact === value) !== invert_match;
      }),
  );
}

describe('the routes of a grant', () => {
  it.each<[string, AllowedOperations, string, boolean]>([
    ['the whole port', {}, 'DELETE /anything?x=1', true],
    ['a method', { allow: [{ method: 'GET', path: '/orders' }] }, 'POST /orders', false],
    ['an exact path, with a query', { allow: [{ method: 'GET', path: '/orders' }] }, 'GET /orders?x=1', true],
    ['no longer path', { allow: [{ method: 'GET', path: '/orders' }] }, 'GET /orders/1', false],
    ['a prefix', { allow: [{ method: '*', path: '/orders/*' }] }, 'PUT /orders/1/2', true],
    ['a template', { allow: [{ method: 'GET', path: '/a/{*}/c' }] }, 'GET /a/b/c', true],
    ['one segment only', { allow: [{ method: 'GET', path: '/a/{*}/c' }] }, 'GET /a/b/b/c', false],
    ['any number of segments', { allow: [{ method: 'GET', path: '/a/{**}' }] }, 'GET /a/b/c', true],
    ['a dot as a dot', { allow: [{ method: 'GET', path: '/v1.0/{*}' }] }, 'GET /v1x0/a', false],
    ['nothing', { allow: [] }, 'GET /', false],
  ])('match %s', (_, allowed, request, expected) => {
    expect(allows(allowed, request)).toBe(expected);
  });

  it.each<[string, boolean]>([
    ['GET /orders/1', true],
    ['GET /orders/internal/1', false],
    ['GET /orders/internal/1?a=/orders/1', false],
    ['PUT /orders/1', true],
    ['DELETE /orders/1', false],
    ['DELETE /orders/2', true],
  ])('exclude denied paths: %s is %s', (request, expected) => {
    const allowed: AllowedOperations = {
      allow: [{ method: '*', path: '/orders/*' }],
      deny: [
        { method: '*', path: '/orders/internal/*' },
        { method: 'DELETE', path: '/orders/1' },
      ],
    };
    expect(allows(allowed, request)).toBe(expected);
  });

  it.each([
    ['a template', `/${'$'.repeat(494)}/{**}`],
    ['a prefix', `/${'$'.repeat(500)}*`],
    ['templates', '/{*}'.repeat(125)],
  ])('are expressions that agents accept, even for the longest path: %s', (_, path) => {
    const longest = Math.max(
      ...(
        routeMatches({ allow: [{ method: 'GET', path }], deny: [{ method: 'GET', path }] }) as readonly Match[]
      ).flatMap(({ safe_regex, headers = [] }) => [
        safe_regex?.regex.length ?? 0,
        ...headers.map(({ string_match }) => string_match.safe_regex?.regex.length ?? 0),
      ]),
    );
    expect(longest).toBeLessThanOrEqual(1_024);
  });
});
