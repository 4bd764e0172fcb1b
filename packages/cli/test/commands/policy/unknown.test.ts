/** The answer that is neither yes nor no, in every form that a command prints, with its own exit code. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { run } from '../../../src/program.ts';
import { startFakeBroker } from './fake-cluster.ts';

const SERVICE = `
apiVersion: v1
kind: Service
metadata: {name: orders, namespace: shop}
spec: {selector: {app: orders}, ports: [{name: http, port: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: orders, namespace: shop}
spec: {template: {metadata: {labels: {app: orders}}, spec: {serviceAccountName: orders}}}
`;
const BARE = `---
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio-injection: disabled}}
`;
const WHY = 'no standard sidecar: sidecar injection is disabled in namespace shop';
const AMBIENT = BARE.replace('istio-injection: disabled', 'istio.io/dataplane-mode: ambient');
const NO_GRANT =
  'it is in ambient mode, which grants do not support yet: a ztunnel checks neither the token nor the method or path of a call';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'meshpass-unknown-'));
  put('mesh.yaml', SERVICE + BARE);
});
afterEach(() => {
  vi.restoreAllMocks();
  process.exitCode = undefined;
  rmSync(folder, { recursive: true });
});

function put(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

async function meshpass(...argv: readonly string[]) {
  process.exitCode = undefined;
  let [out, err] = ['', ''];
  vi.spyOn(console, 'log').mockImplementation((text: unknown) => {
    out += `${text}\n`;
  });
  vi.spyOn(console, 'error').mockImplementation((text: unknown) => {
    err += `${text}\n`;
  });
  const code = await run(['node', 'meshpass', 'policy', ...argv]);
  vi.restoreAllMocks();
  return { code, out, err };
}
const mesh = () => join(folder, 'mesh.yaml');

describe('can-i', () => {
  it('answers unknown with 4, and why, in text and JSON', async () => {
    const { code, out } = await meshpass('can-i', '--as', 'dev/web', '--to', 'orders.shop:8080', mesh());
    expect(out).toMatch(/^unknown\n/);
    expect(out).toContain(`shop/orders:8080 unknown: ${WHY}\n`);
    expect(out).not.toMatch(/allowed|refused/);
    expect(code).toBe(4);
    const json = await meshpass('can-i', '--as', 'nobody', '--to', 'orders.shop:8080', '--output', 'json', mesh());
    expect(JSON.parse(json.out)).toMatchObject({ allowed: 'unknown', answers: [{ allowed: 'unknown', unknown: WHY }] });
    expect(JSON.parse(json.out).answers[0]).not.toHaveProperty('decision');
    expect(json.code).toBe(4);
  });
});

describe('ambient mode', () => {
  const POLICY = `---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: admin, namespace: shop}
spec: {action: DENY, rules: [{to: [{operation: {paths: [/admin]}}]}, {from: [{source: {namespaces: [dev]}}]}]}
`;
  it('answers as the ztunnel decides, with the rule and its line', async () => {
    const file = put('ambient.yaml', SERVICE + AMBIENT + POLICY);
    const to = ['--to', 'orders.shop:8080', '--path', '/admin', file];
    const denied = await meshpass('can-i', '--as', 'dev/web', ...to);
    expect(denied.out).toMatch(/^no\n {2}shop\/orders:8080 refused as TCP by ztunnel: .*DENY shop\/admin rule 1, /);
    expect(denied.code).toBe(1);
    const { out, code } = await meshpass('can-i', '--as', 'web/shop', ...to);
    expect(out).toMatch(/^yes\n {2}shop\/orders:8080 allowed as TCP by ztunnel: /);
    expect(code).toBe(0);
  });

  it('says why no grant works', async () => {
    const [file, access] = [
      put('ambient.yaml', SERVICE + AMBIENT),
      put(
        'access.yaml',
        'trust: {codespaces: {organization: acme}}\ngrants:\n  dev: {who: [{user: bob}], to: [{service: orders.shop, port: 8080}]}\n',
      ),
    ];
    const who = await meshpass('who-can', 'orders.shop:8080', '--access', access, file);
    expect(who.out).toContain(`unknown of holders of grant dev at shop/orders:8080: ${NO_GRANT}`);
    const plan = await meshpass('plan', '--access', access, '--public-url', 'https://broker.example.com', file);
    expect(plan.out).toContain('grant dev does not work on orders.shop:8080');
    expect(plan.out).toContain(NO_GRANT);
    expect(plan.code).toBe(1);
  });
});

describe('who-can', () => {
  it('does not answer Nobody', async () => {
    const { code, out } = await meshpass('who-can', 'orders.shop:8080', mesh());
    expect(out).toBe(`unknown at shop/orders:8080: ${WHY}\n`);
    expect(code).toBe(4);
    const json = await meshpass('who-can', 'orders.shop:8080', '--output', 'json', mesh());
    expect(JSON.parse(json.out)).toMatchObject({ who: [], unknown: [{ workload: 'shop/orders', why: WHY }] });
  });

  it('does not claim that a grant opens it', async () => {
    const access = put(
      'access.yaml',
      'trust: {codespaces: {organization: acme}}\ngrants:\n  dev: {who: [{user: bob}], to: [{service: orders.shop, port: 8080}]}\n',
    );
    const { code, out } = await meshpass('who-can', 'orders.shop:8080', '--access', access, mesh());
    expect(out).toContain(`unknown of holders of grant dev at shop/orders:8080: ${WHY}`);
    expect(out).not.toContain('user bob');
    expect(code).toBe(4);
  });
});

describe('matrix', () => {
  it('marks the cells, and explains once', async () => {
    const { code, out } = await meshpass('matrix', mesh());
    expect(out).toMatch(/^nobody \(plain text\) +\?$/m);
    expect(out.match(new RegExp(`\\? orders\\.shop:8080: ${WHY}`, 'g'))).toHaveLength(1);
    expect(code).toBe(4);
    const json = JSON.parse((await meshpass('matrix', '--output', 'json', mesh())).out);
    expect(new Set(json.cells.map(({ allowed }: { allowed: string }) => allowed))).toEqual(new Set(['unknown']));
    expect(json.cells[0].unknown).toBe(WHY);
  });
});

describe('diff', () => {
  const policy = `---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: closed, namespace: shop}
spec: {}
`;
  it('reports neither a change nor equality, with 4, in text and JSON', async () => {
    const after = put('after.yaml', SERVICE + BARE + policy);
    const { code, out } = await meshpass('diff', mesh(), after);
    expect(out).toMatch(/^unknown on orders in shop, port 8080 \(orders\.shop:8080\)/);
    expect(out).toContain(WHY);
    expect(out).not.toContain('loses');
    expect(out).not.toMatch(/^The same calls are allowed/m);
    expect(code).toBe(4);
    const json = await meshpass('diff', mesh(), after, '--output', 'json');
    expect(JSON.parse(json.out)).toMatchObject({ changes: [], unknown: [{ reason: WHY }] });
    expect(json.code).toBe(4);
  });

  it('reports that the same calls are allowed if nothing differs, regardless of the guard', async () => {
    const { code, out } = await meshpass('diff', mesh(), mesh());
    expect(out).toMatch(/^The same calls are allowed/);
    expect(code).toBe(0);
  });

  it('leaves to an authorizer a decision that an unread configuration may contain', async () => {
    const custom = policy.replace('spec: {}', 'spec: {action: CUSTOM, provider: {name: opa}, rules: [{}]}');
    const [before, after] = [put('before.yaml', SERVICE), put('after.yaml', SERVICE + custom)];
    const { out } = await meshpass('diff', before, after);
    expect(out).toContain('if the authorizer opa does not agree');
  });
});

describe('plan, apply and test', () => {
  const GRANT =
    'trust: {codespaces: {organization: acme}}\ngrants:\n  dev: {who: [{user: bob}], to: [{service: orders.shop, port: 8080}]}\n';
  const flags = () => ['--access', put('access.yaml', GRANT), '--public-url', 'https://broker.example.com'];

  it('plan is refused with 4, and explains why in every form', async () => {
    for (const form of ['text', 'markdown', 'json']) {
      const { code, out } = await meshpass('plan', ...flags(), '--output', form, mesh());
      expect(code).toBe(4);
      expect(out).toContain(WHY);
      expect(out).toContain('it is not known whether grant dev works on orders.shop:8080');
      if (form !== 'json') expect(out).toContain('This change is refused: it is unknown whether every grant works.');
    }
  });

  it('plan lists its assumptions once', async () => {
    const known = put('known.yaml', SERVICE);
    for (const form of ['text', 'markdown', 'json']) {
      const { code, out } = await meshpass('plan', ...flags(), '--output', form, known);
      expect(code).toBe(0);
      expect(out.match(/are assumed to have a sidecar, because /g)).toHaveLength(1);
    }
  });

  it('apply stops with 4, and continues with an acceptance, which it sends to the broker', async () => {
    const broker = await startFakeBroker(mesh(), put('access.yaml', GRANT));
    vi.stubEnv('MESHPASS_OPERATOR_TOKEN', 'an-operators-token');
    const apply = ['apply', '--access', join(folder, 'access.yaml'), '--operator', broker.origin];
    expect((await meshpass(...apply)).code).toBe(4);
    expect((await meshpass(...apply, '--dry-run', '--output', 'markdown')).code).toBe(4);
    expect(broker.sent.map(({ url }) => url)).toEqual(['/policy/plan', '/policy/plan']);
    const { code, out } = await meshpass(...apply, '--accept-unknown');
    expect(out).toContain('Applied, and now in effect.');
    expect(code).toBe(0);
    expect(broker.sent.at(-1)).toMatchObject({ url: '/policy/apply', body: { accept_unknown: true } });
    await broker.close();
    vi.unstubAllEnvs();
  });

  it('test fails, and reports unknown in text, JSON and JUnit', async () => {
    const cases = put('cases.yaml', 'cases:\n  - {who: {grant: dev}, call: GET orders.shop:8080/, expect: allowed}\n');
    const junit = join(folder, 'junit.xml');
    const said = `expected to be allowed, but it is unknown: ${WHY}`;
    const text = await meshpass('test', cases, ...flags(), '--manifests', mesh(), '--junit', junit);
    expect(text.code).toBe(1);
    expect(text.out).toContain(said);
    expect(readFileSync(junit, 'utf8')).toContain(said);
    const json = await meshpass('test', cases, ...flags(), '--manifests', mesh(), '--output', 'json');
    expect(JSON.parse(json.out).outcomes).toMatchObject([{ passed: false, said }]);
  });
});

it('assumptions are listed once, in text and JSON', async () => {
  const known = put('known.yaml', SERVICE);
  const said = 'Pods of shop are assumed to have a sidecar, because its Namespace was not read.';
  for (const command of [
    ['can-i', '--as', 'dev/web', '--to', 'orders.shop:8080'],
    ['who-can', 'orders.shop:8080'],
    ['matrix'],
  ]) {
    const text = await meshpass(...command, known);
    expect(text.out.split(said)).toHaveLength(2);
    expect(text.code).toBe(0);
    expect(JSON.parse((await meshpass(...command, known, '--output', 'json')).out).assumed).toEqual([said]);
  }
});
