/** Compiled objects match Istio's CRDs, and their rules mean what the file says under Istio's semantics. */

import { Gateway } from '@kubernetes-models/istio/networking.istio.io/v1beta1/Gateway';
import { Sidecar } from '@kubernetes-models/istio/networking.istio.io/v1beta1/Sidecar';
import { AuthorizationPolicy } from '@kubernetes-models/istio/security.istio.io/v1/AuthorizationPolicy';
import { RequestAuthentication } from '@kubernetes-models/istio/security.istio.io/v1/RequestAuthentication';
import { describe, expect, it } from 'vitest';
import { refusedOperations } from '../src/compile/http-rules.ts';
import { compile, parseAccess } from '../src/index.ts';
import type { Manifest } from '../src/model.ts';
import { parseOperation } from '../src/schema/pattern.ts';
import { EXAMPLE, MESH, TOKENS } from './shop.ts';

/** The package has Gateway and Sidecar as v1beta1 only; their schemas are the same. */
const KINDS = { Gateway, Sidecar, AuthorizationPolicy, RequestAuthentication };

const withoutVersion = ({ apiVersion, ...rest }: Manifest) => rest;

describe('compiled Istio resources', () => {
  const mesh = { ...MESH, foreignPolicies: [{ name: 'closed', namespace: 'shop', action: 'ALLOW' as const }] };
  const manifests = compile(parseAccess(EXAMPLE, 'access.yaml'), mesh, TOKENS);
  const istio = manifests.filter(({ apiVersion }) => apiVersion.includes('istio.io'));

  it.each(istio.map((manifest) => [`${manifest.kind} ${manifest.metadata.name}`, manifest] as const))(
    '%s is valid',
    (_, manifest) => {
      const Kind = KINDS[manifest.kind as keyof typeof KINDS];
      expect(() => new Kind(withoutVersion(manifest) as never).validate()).not.toThrow();
    },
  );

  it('would be found invalid if they were', () => {
    expect(() =>
      new AuthorizationPolicy({ metadata: { name: 'x' }, spec: { action: 'REFUSE' } } as never).validate(),
    ).toThrow();
  });

  it('use only condition keys that Istio knows: an unknown one would drop its whole rule', () => {
    const keys = JSON.stringify(istio).match(/"key":"[^"]*"/g);
    expect(new Set(keys)).toEqual(new Set(['"key":"connection.sni"', '"key":"request.auth.claims[grants]"']));
  });
});

describe('refused operations', () => {
  const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'OPTIONS', 'CONNECT', 'BREW'];
  const PATHS = [
    '/',
    '/orders',
    '/orders/',
    '/orders/1',
    '/orders/1/items',
    '/refunds',
    '/refunds/',
    '/refunds2',
    '/admin',
    '/ORDERS/1',
    '*',
    '',
  ];

  /** Istio: `*` at the end is a prefix, otherwise exact (matcher.StringMatcher). */
  const matches = (pattern: string, path: string) =>
    pattern.endsWith('*') ? path.startsWith(pattern.slice(0, -1)) : path === pattern;

  it.each([
    [['GET /orders/*', 'POST /refunds']],
    [['GET /orders/*', 'GET /refunds', 'HEAD /orders/*']],
    [['* /orders/*']],
    [['* /orders/*', 'POST /refunds']],
    [['* /*']],
    [['GET /*']],
    [['GET /']],
  ])('are exactly what %j does not grant', (allow) => {
    const operations = allow.map((text) => {
      const parsed = parseOperation(text);
      if (!('value' in parsed)) throw new Error(parsed.message);
      return parsed.value;
    });
    const refused = refusedOperations(operations);
    for (const method of METHODS) {
      for (const path of PATHS) {
        const granted = operations.some(
          (one) => (one.method === '*' || one.method === method) && matches(one.path, path),
        );
        const denied = refused.some(
          ({ methods, notMethods, notPaths }) =>
            (methods?.includes(method) ?? true) &&
            !(notMethods?.includes(method) ?? false) &&
            !(notPaths?.some((pattern) => matches(pattern, path)) ?? false),
        );
        expect({ method, path, denied }).toEqual({ method, path, denied: !granted });
      }
    }
  });

  it('never form an operation without a field, which Istio refuses', () => {
    for (const allow of [[{ method: '*', path: '/a' }], [{ method: 'GET', path: '/a' }]]) {
      for (const operation of refusedOperations(allow)) expect(Object.keys(operation).length).toBeGreaterThan(0);
    }
  });
});
