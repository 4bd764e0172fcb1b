/** Policies that are too large to evaluate: the answer is unknown, and nothing is suppressed. */
import { loadManifests } from '@meshpass/istio';
import { expect, test } from 'vitest';
import { listExposures } from '../../src/exposure/list.ts';
import { lintFiles } from '../../src/lint/lint.ts';

const manifests = (paths: readonly string[]) => `apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: public, namespace: istio-ingress}
spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 443, name: https, protocol: HTTPS}, hosts: ["*"], tls: {mode: SIMPLE, credentialName: c}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: orders, namespace: shop}
spec: {hosts: [shop.example.com], gateways: [istio-ingress/public], http: [{route: [{destination: {host: orders.shop-staging.svc.cluster.local}}]}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: paths, namespace: istio-ingress}
spec: {selector: {matchLabels: {istio: ingressgateway}}, action: DENY, rules: [{to: [{operation: {paths: ${JSON.stringify(paths)}}}]}]}
`;

const LONG = `/${'a'.repeat(100_000)}`;

function identityOf(paths: readonly string[]) {
  return listExposures(loadManifests(manifests(paths), 'shop.yaml').resources)[0]!.identityAtEntry;
}

test('a long path costs no more than its length', () => {
  expect(identityOf([LONG])).toMatchObject({ state: 'none' });
});

test.each([
  ['a long path beside a template', [LONG, '/a/{*}/b/{**}']],
  ['a long template', [`/{*}${LONG}`]],
])('the identity at the entry point is unknown for %s', (_, paths) => {
  const reason = 'policies at the gateway are too large to evaluate';
  expect(identityOf(paths)).toMatchObject({ state: 'unknown', reason });
  const { findings, problems } = lintFiles([{ name: 'shop.yaml', text: manifests(paths) }], { now: 0 });
  expect(problems).toEqual([]);
  expect(findings.filter(({ code }) => code === 'MP101')).toHaveLength(1);
  expect(JSON.stringify(findings)).toContain(reason);
});
