/** Text of manifests that would control a terminal or a CI system if it were printed as it is. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { run } from '../../../src/program.ts';

const HOSTILE = 'a\n::error file=x::pwned\u001b[2J\u0007\u202e\u2066##[error]b';
const quoted = JSON.stringify(HOSTILE);

const policy = (action: string) => `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ${quoted}, namespace: shop}
spec: {action: ${action}, rules: [{to: [{operation: {paths: [/orders, ${JSON.stringify(`/${HOSTILE}`)}]}}]}]}
`;
const mesh = `apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: public, namespace: istio-ingress}
spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ${quoted}, namespace: shop}
spec: {hosts: ["*"], gateways: [istio-ingress/public], http: [{match: [{uri: {exact: ${JSON.stringify(`/${HOSTILE}`)}}}], route: [{destination: {host: orders}}]}]}
---
{apiVersion: v1, kind: ${quoted}, metadata: {name: x, namespace: z}}
---
{apiVersion: v1, kind: Service, metadata: {name: orders, namespace: shop}, spec: {selector: {app: orders}, ports: [{port: 80, name: http}]}}
---
{apiVersion: apps/v1, kind: Deployment, metadata: {name: ${quoted}, namespace: shop}, spec: {template: {metadata: {labels: {app: orders}}, spec: {serviceAccountName: ${quoted}, containers: [{name: main, ports: [{containerPort: 80}]}]}}}}
---
`;

let home: string;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'hostile-'));
  writeFileSync(join(home, 'before.yaml'), mesh + policy('ALLOW'));
  writeFileSync(join(home, 'after.yaml'), mesh.replace('exact: ', 'prefix: ') + policy('DENY'));
});
afterEach(() => {
  rmSync(home, { recursive: true });
  vi.restoreAllMocks();
  process.exitCode = undefined;
});

async function policyCommand(...argv: readonly string[]): Promise<string> {
  let out = '';
  const line = (text: unknown) => {
    out += `${text}\n`;
  };
  vi.spyOn(console, 'log').mockImplementation(line);
  vi.spyOn(console, 'error').mockImplementation(line);
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    out += text;
    return true;
  });
  await run(['node', 'meshpass', 'policy', ...argv.map((one) => one.replace(/^HOME\//, `${home}/`))]);
  return out;
}

const BEFORE = 'HOME/before.yaml';
it.each([
  ['lint', BEFORE],
  ['lint', BEFORE, '--output', 'json'],
  ['lint', BEFORE, '--output', 'sarif'],
  ['exposure', BEFORE],
  ['exposure', BEFORE, '--output', 'json'],
  ['exposure', BEFORE, '--output', 'sarif'],
  ['exposure', BEFORE, '--output', 'markdown'],
  ['exposure', BEFORE, '--output', 'html'],
  ['diff', BEFORE, 'HOME/after.yaml'],
  ['diff', BEFORE, 'HOME/after.yaml', '--output', 'json'],
  ['diff', BEFORE, 'HOME/after.yaml', '--output', 'markdown'],
  ['can-i', '--as', 'dev/web', '--to', 'orders.shop:80', '--path', '/orders', BEFORE],
  ['can-i', '--as', 'dev/web', '--to', 'orders.shop:80', '--path', '/orders', '--output', 'json', BEFORE],
  ['who-can', 'orders.shop:80', '--path', '/orders', BEFORE],
  ['matrix', BEFORE],
])('%s %s %s %s prints no control character and no workflow command', async (...argv) => {
  const out = await policyCommand(...argv);
  expect(out).toContain('pwned');
  expect(out).not.toMatch(/^\s*::/m);
  expect(out.replaceAll('\n', '')).not.toMatch(/[\p{Cc}\p{Bidi_Control}]/u);
});

it('prints only its own workflow commands with lint --output github', async () => {
  const out = await policyCommand('lint', BEFORE, '--output', 'github');
  expect(out).toContain('pwned');
  expect(out).not.toMatch(/^\s*::error file=x/m);
  expect(out).not.toContain('%0A::');
  expect(out.replaceAll('\n', '')).not.toMatch(/[\p{Cc}\p{Bidi_Control}]/u);
});

it('has one place that prints text', () => {
  const folder = fileURLToPath(new URL('../../../src/commands/policy/', import.meta.url));
  for (const file of readdirSync(folder)) expect(readFileSync(join(folder, file), 'utf8')).not.toContain('console.');
});
