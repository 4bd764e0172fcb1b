import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { run } from '../../../src/program.ts';

const MANIFESTS = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: orders, namespace: shop}
spec: {template: {metadata: {labels: {app: orders}}, spec: {serviceAccountName: orders}}}
---
apiVersion: v1
kind: Service
metadata: {name: orders, namespace: shop}
spec: {selector: {app: orders}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: orders, namespace: shop}
spec:
  rules:
    - from: [{source: {principals: [cluster.local/ns/dev/sa/web]}}]
      to: [{operation: {paths: [/orders/*]}}]
`;

const OUTSIDE = `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: public, namespace: ingress}
spec: {selector: {app: gateway}, servers: [{port: {number: 443, protocol: HTTPS, name: https}, hosts: ['*'], tls: {mode: SIMPLE}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: orders, namespace: shop}
spec: {hosts: [shop.example.com], gateways: [ingress/public], http: [{route: [{destination: {host: orders}}]}]}
`;

let folder: string;
let file: string;
let said: string[] = [];
let failed: string[] = [];

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'meshpass-questions-'));
  file = join(folder, 'mesh.yaml');
  writeFileSync(file, MANIFESTS);
});
afterAll(() => rmSync(folder, { recursive: true }));
beforeEach(() => {
  said = [];
  failed = [];
  vi.spyOn(console, 'log').mockImplementation((text: string) => void said.push(text));
  vi.spyOn(console, 'error').mockImplementation((text: string) => void failed.push(text));
});
afterEach(() => {
  vi.restoreAllMocks();
  process.exitCode = undefined;
});

const ask = (...argv: string[]) => run(['node', 'meshpass', 'policy', ...argv]);

describe('meshpass policy can-i', () => {
  it('answers yes with 0, and the line', async () => {
    expect(await ask('can-i', '--as', 'dev/web', '--to', 'orders.shop:80', '--path', '/orders/1', file)).toBe(0);
    expect(said.join('\n')).toBe(
      `yes\n  shop/orders:8080 allowed as HTTP: this rule allows it: ALLOW shop/orders rule 0, ${file}:17\n\nPods of shop are assumed to have a sidecar, because its Namespace was not read.`,
    );
  });
  it('answers no with 1', async () => {
    expect(await ask('can-i', '--as', 'nobody', '--to', 'orders.shop:80', '--output', 'json', file)).toBe(1);
    expect(JSON.parse(said.join('\n'))).toMatchObject({
      allowed: 'no',
      answers: [{ workload: 'shop/orders', port: 8080, decision: { status: 403, reason: 'no-allow-rule' } }],
    });
  });
  it.each([
    ['a target that is not there', ['--as', 'dev/web', '--to', 'order.shop:80'], /did you mean "orders.shop"/],
    ['an identity that is none', ['--as', 'web', '--to', 'orders.shop:80'], /NAMESPACE\/SERVICEACCOUNT/],
    ['claims that are no object', ['--as', 'nobody', '--claims', '[]', '--to', 'orders.shop:80'], /JSON object/],
    ['a URL that is none', ['--as', 'outside', '--to', 'orders.shop:80'], /must be a URL/],
    [
      'a certificate without TLS',
      ['--as', 'outside', '--to', 'http://a.example', '--certificate', 'x'],
      /requires a URL/,
    ],
    ['a certificate inside', ['--as', 'nobody', '--to', 'orders.shop:80', '--certificate', 'x'], /--as outside/],
    ['a header without a name', ['--as', 'nobody', '--header', 'x', '--to', 'orders.shop:80'], /NAME: VALUE/],
  ])('fails with 2 for %s', async (_, flags, message) => {
    expect(await ask('can-i', ...flags, file)).toBe(2);
    expect(failed.join('\n')).toMatch(message);
  });
  it('answers for a caller outside, at the gateway and its route', async () => {
    const outside = join(folder, 'outside.yaml');
    writeFileSync(outside, `${MANIFESTS}---\n${OUTSIDE}`);
    const url = 'https://shop.example.com/orders/1';
    expect(await ask('can-i', '--as', 'outside', '--to', url, outside)).toBe(1);
    expect(said.join('\n')).toMatch(
      /^no\n {2}ingress\/public -> orders\.shop\.svc\.cluster\.local:80 -> shop\/orders:8080: refused \(403\) as HTTP: .*\n {4}by the route at .*outside\.yaml:\d+\n\nPods of shop are assumed to have a sidecar/,
    );
    said.length = 0;
    expect(await ask('can-i', '--as', 'outside', '--to', 'https://other.example', '--output', 'json', outside)).toBe(1);
    expect(JSON.parse(said.join('\n'))).toMatchObject({ allowed: 'no', answers: [{ by: 'route', status: 404 }] });
  });
  it('fails with 2 without anything to read', async () => {
    expect(await ask('can-i', '--as', 'dev/web', '--to', 'orders.shop:80')).toBe(2);
    expect(failed.join('\n')).toMatch(/--kubeconfig/);
  });
});

it('meshpass policy who-can lists the callers that reach it', async () => {
  expect(await ask('who-can', 'orders.shop:80', '--path', '/orders/1', '--output', 'json', file)).toBe(0);
  expect(JSON.parse(said.join('\n')).who.map(({ who }: { who: string }) => who)).toEqual(['dev/web']);
});

it('meshpass policy matrix draws identities by endpoints', async () => {
  expect(await ask('matrix', file)).toBe(0);
  const lines = said.join('\n').split('\n');
  expect(lines.find((line) => line.startsWith('dev/web'))).toMatch(/ ~$/);
  expect(lines.find((line) => line.startsWith('nobody'))).toMatch(/ \.$/);
});
