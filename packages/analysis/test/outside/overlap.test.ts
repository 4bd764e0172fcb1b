import { loadManifests } from '@meshpass/istio';
import { expect, test } from 'vitest';
import { all, any, type Condition, testsOf, text } from '../../src/diff/formula/condition.ts';
import { parseTextTest } from '../../src/diff/formula/text-test.ts';
import { computeOutsideReach } from '../../src/outside/outside.ts';
import { mayOverlap } from '../../src/routes/overlap.ts';

const path = (written: string): Condition => text('path', parseTextTest(written));
const get = text('method', parseTextTest('GET'));
const post = text('method', parseTextTest('POST'));

test.each<readonly [string, Condition, Condition, boolean]>([
  ['different exact paths', path('/a'), path('/b'), false],
  ['equal paths', path('/a'), path('/a'), true],
  ['prefixes of which neither begins the other', path('/a*'), path('/b*'), false],
  ['a prefix within another', path('/a*'), path('/ab*'), true],
  ['a path outside a prefix', path('/ab*'), path('/a'), false],
  ['a path within a prefix', path('/a*'), path('/ab'), true],
  ['a prefix and a suffix', path('/a*'), path('*.json'), true],
  ['a path and another suffix', path('/a'), path('*.json'), false],
  ['the same path with different methods', all([path('/a'), get]), all([path('/a'), post]), false],
  ['different fields', path('/a'), get, true],
  ['alternatives of which two meet', any([path('/a'), path('/b')]), any([path('/c'), path('/b')]), true],
  ['alternatives of which none meet', any([path('/a'), path('/b')]), any([path('/c'), path('/d')]), false],
  ['a template', text('path', { form: 'pattern', pieces: [{ any: 'rest' }] }), path('/a'), true],
])('%s', (_, one, other, expected) => {
  expect(mayOverlap(one, other)).toBe(expected);
  expect(mayOverlap(other, one)).toBe(expected);
});

test('the formula of a destination mentions only routes that share calls with its own', () => {
  const routes = Array.from(
    { length: 200 },
    (_, index) => `{match: [{uri: {exact: /p${index}}}], route: [{destination: {host: orders${index}}}]}`,
  );
  const text = `apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: public, namespace: shop}
spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop, namespace: shop}
spec: {hosts: [shop.example.com], gateways: [public], http: [${routes.join()}]}
`;
  const outside = computeOutsideReach(loadManifests(text, 'shop.yaml').resources, 'istio-system');
  const counts = outside.destinations.map((one) => [...testsOf(outside.callsOf(one), new Set())].length);
  expect(counts).toHaveLength(200);
  expect(Math.max(...counts)).toBeLessThan(10);
});
