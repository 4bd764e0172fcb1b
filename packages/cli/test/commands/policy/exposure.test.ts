import { appendFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { HOSTILE, HOSTILE_MESH, SHOP } from '../../../../analysis/test/exposure/shop.ts';
import { startFakeCluster } from './fake-cluster.ts';
import { runPolicy } from './run-policy.ts';

/** A mesh without an open external way. */
const CLOSED = SHOP.replace('paths: [/admin/*]', 'paths: ["*"]');
const NO_UNKNOWN = CLOSED.replace('mode: PERMISSIVE', 'mode: STRICT');
const LINE = JSON.stringify({
  start_time: '2026-11-30T08:00:00.000Z',
  authority: 'shop.example.com',
  method: 'GET',
  path: '/orders/1',
  response_code: 200,
  upstream_cluster: 'outbound|8080||orders.shop.svc.cluster.local',
  route_name: null,
});

let home: string;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'exposure-'));
});
afterEach(() => rmSync(home, { recursive: true }));

function put(name: string, text: string): void {
  mkdirSync(dirname(join(home, name)), { recursive: true });
  writeFileSync(join(home, name), text);
}

const exposure = (args: readonly string[], input = '') => runPolicy(home, ['exposure', ...args], input);

describe('exit codes', () => {
  test.each<readonly [string, string, number, number, number]>([
    ['open', SHOP, 0, 1, 1],
    ['unknown', CLOSED, 0, 0, 4],
    ['closed', NO_UNKNOWN, 0, 0, 0],
  ])('if the least closed external way is %s', async (_, mesh, never, open, unknown) => {
    put('a.yaml', mesh);
    expect((await exposure(['a.yaml'])).code).toBe(never);
    expect((await exposure(['a.yaml', '--fail-on', 'open'])).code).toBe(open);
    expect((await exposure(['a.yaml', '--fail-on', 'unknown'])).code).toBe(unknown);
  });

  test('4 with --fail-on if skipped files may decide, which the report says', async () => {
    put('mesh/a.yaml', NO_UNKNOWN);
    put('mesh/Chart.yaml', 'apiVersion: v2\nname: shop\n');
    put('mesh/templates/b.yaml', 'apiVersion: v1\nkind: {{ .Values.kind }}\n');
    const { code, out } = await exposure(['mesh', '--fail-on', 'open']);
    expect(code).toBe(4);
    expect(out).toContain('note: skipped files may decide: mesh/templates/b.yaml');
    expect((await exposure(['mesh'])).code).toBe(0);
  });

  test.each([
    [[], 2, /Pass manifest files or directories/],
    [['nowhere.yaml'], 2, /Cannot read nowhere\.yaml/],
    [['a.yaml', '--output', 'xml'], 2, /Allowed choices are/],
    [['a.yaml', '--logs', 'nowhere.log'], 2, /--logs: cannot read nowhere\.log/],
    [['broken.yaml'], 1, /\[manifest_syntax\]/],
  ] as const)('of wrong arguments: %j', async (args, exit, message) => {
    put('a.yaml', SHOP);
    put('broken.yaml', 'kind: [');
    const { code, err } = await exposure(args);
    expect(code).toBe(exit);
    expect(err).toMatch(message);
  });
});

describe('output of hostile manifests', () => {
  beforeEach(() => put('a.yaml', HOSTILE_MESH));

  test('table: without control characters and colours', async () => {
    const { out } = await exposure(['a.yaml']);
    expect(out).toMatch(/^External access: 1 open, 0 unknown, 0 closed\n/);
    expect(out.replaceAll('\n', '')).not.toMatch(/\p{Cc}/u);
  });

  test('JSON: with the name as it is', async () => {
    const { out } = await exposure(['a.yaml', '--output', 'json']);
    expect(JSON.parse(out).external.ways[0].object).toEqual({
      kind: 'VirtualService',
      namespace: 'shop',
      name: HOSTILE,
    });
  });

  test('SARIF: with the line', async () => {
    const { out } = await exposure(['a.yaml', '--output', 'sarif']);
    expect(JSON.parse(out).runs[0].results).toMatchObject([
      { ruleId: 'external-access', locations: [{ physicalLocation: { region: { startLine: 27 } } }] },
    ]);
  });

  test('Markdown: in one graph', async () => {
    const { out } = await exposure(['a.yaml', '--output', 'markdown']);
    expect(out.split('\n').filter((line) => line.startsWith('```'))).toEqual(['```mermaid', '```']);
  });

  test('HTML: without elements of the names', async () => {
    const { out } = await exposure(['a.yaml', '--output', 'html']);
    expect(out).toMatch(/^<!doctype html>\n/);
    expect(out).not.toMatch(/<(?:script|img)/);
    expect(out).toContain('&lt;script&gt;');
  });
});

test('reads standard input, and lists closed ways with --all', async () => {
  expect((await exposure(['-'], SHOP)).out).not.toContain('/admin/*');
  const { out } = await exposure(['-', '--all'], SHOP);
  expect(out).toContain('any method /admin/* of shop.example.com');
  expect(out).toContain('stdin:30');
});

test('reads routes of the Gateway API from a cluster, and names kinds that the kubeconfig may not list', async () => {
  const others = SHOP.split('---\n').filter((one) => !one.includes('kind: HTTPRoute'));
  put('mesh/shop.yaml', others.join('---\n'));
  const apiVersion = 'gateway.networking.k8s.io/v1';
  const route = {
    metadata: { name: 'web', namespace: 'shop' },
    spec: {
      parentRefs: [{ name: 'other', namespace: 'edge' }],
      hostnames: ['web.example.com'],
      rules: [{ backendRefs: [{ name: 'web', port: 8080 }] }],
    },
  };
  const cluster = await startFakeCluster(join(home, 'mesh'), [
    { apiVersion, kind: 'HTTPRoute', name: 'httproutes', items: [route] },
    { apiVersion, kind: 'TLSRoute', name: 'tlsroutes' },
  ]);
  put('kubeconfig', cluster.kubeconfig);
  const { code, out } = await exposure(['--kubeconfig', 'kubeconfig', '--output', 'json', '--fail-on', 'unknown']);
  await cluster.close();
  const report = JSON.parse(out);
  expect(report.external.ways.map(({ object }: { object: { kind: string } }) => object.kind)).toContain('HTTPRoute');
  expect(report.notes).toEqual([`kinds that the kubeconfig may not list: TLSRoute (${apiVersion})`]);
  expect(code).toBe(1);
});

test('lists only ways that the change opens with --base, and fails only for those', async () => {
  put('base.yaml', SHOP);
  const route =
    '- match: [{uri: {prefix: /refunds/}}]\n      route: [{destination: {host: refunds}}]\n    - match: [{uri: {prefix: /admin/}}]';
  put('head.yaml', SHOP.replace('- match: [{uri: {prefix: /admin/}}]', route));
  const { code, out } = await exposure(['head.yaml', '--base', 'base.yaml', '--fail-on', 'unknown']);
  expect(out).toMatch(/^External access: 1 open, 0 unknown, 0 closed\n/);
  expect(out).toContain('any method /refunds/* of shop.example.com');
  expect(out).toContain('note: only ways that the change opens are listed (--base)');
  expect(code).toBe(1);
  const same = await exposure(['base.yaml', '--base', 'base.yaml', '--fail-on', 'unknown']);
  expect(same.out).toMatch(/^External access: 0 open, 0 unknown, 0 closed\n/);
  expect(same.code).toBe(0);
});

describe('--logs', () => {
  test('lists external ways that no line uses, with the period and the unreadable lines', async () => {
    put('a.yaml', SHOP);
    put('gateway.log', `${LINE}\n`);
    put('other.log', `Envoy proxy is ready\r\n${LINE.replace('T08', 'T09')}\r\n\r\n`);
    const { out } = await exposure(['a.yaml', '--logs', 'gateway.log', '--logs', 'other.log']);
    const [, unused] = out.split('Unused access: ');
    expect(unused).toMatch(
      /^1 external way\n {2}The access logs cover 2026-11-30T08:00:00\.000Z to 2026-11-30T09:00:00\.000Z, in 3 lines\.\n {2}1 line could not be read/,
    );
    expect(unused).toContain('/admin/* of shop.example.com');
    expect(unused).not.toContain('/orders/*');
  });

  test('reads lines across chunks, a last line without an end, and counts a line that is too long', async () => {
    put('a.yaml', SHOP);
    put('gateway.log', '');
    const other = LINE.replace('shop.example.com', 'é.example.com');
    for (let i = 0; i < 10; i++) appendFileSync(join(home, 'gateway.log'), `${other}\n`.repeat(500));
    appendFileSync(join(home, 'gateway.log'), `${'x'.repeat(1_000_000)}\n${LINE}`);
    const { out } = await exposure(['a.yaml', '--logs', 'gateway.log', '--output', 'json']);
    expect(JSON.parse(out).unused).toMatchObject({ lines: 5002, unreadable: 1, unlogged: 1 });
    expect(JSON.parse(out).unused.ways).toHaveLength(1);
  });

  test('lists rules and, with --access, grants without a use in every format', async () => {
    put(
      'a.yaml',
      `{apiVersion: v1, kind: Service, metadata: {name: orders, namespace: shop}, spec: {selector: {app: orders}, ports: [{port: 8080, name: http}]}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: orders, namespace: shop}
spec: {rules: [{to: [{operation: {paths: [/old]}}]}, {from: [{source: {namespaces: [web]}}]}]}
`,
    );
    put(
      'access.yaml',
      'trust: {codespaces: {organization: acme}}\ngrants:\n  dev: {who: [{user: alice}], to: [{service: orders.shop, port: 8080, allow: [POST /x]}]}\n',
    );
    const server = 'outbound_.8080_._.orders.shop.svc.cluster.local';
    put('sidecar.log', LINE.replace(/"outbound\|[^"]*"/, `"inbound|8080||","requested_server_name":"${server}"`));
    const lists = async (format: string) =>
      (await exposure(['a.yaml', '--logs', 'sidecar.log', '--access', 'access.yaml', '--output', format])).out;
    const unused = ['ALLOW rule 1 of AuthorizationPolicy shop/orders (a.yaml:6)', 'grant dev (access.yaml:3)'];
    const unknown =
      'ALLOW rule 2 of AuthorizationPolicy shop/orders (a.yaml:6): the log does not show the identity of the caller';
    for (const format of ['table', 'markdown', 'html']) {
      const out = await lists(format);
      for (const line of [...unused, unknown]) expect(out).toContain(line);
    }
    expect(JSON.parse(await lists('json')).unused.rules).toMatchObject([
      { kind: 'rule', place: { file: 'a.yaml', line: 6 } },
      { kind: 'rule', unknown: expect.stringContaining('the identity of the caller') },
      { kind: 'grant', name: 'grant dev', place: { file: 'access.yaml', line: 3 } },
    ]);
    expect(JSON.parse(await lists('sarif')).runs[0].results).toMatchObject([
      { ruleId: 'unused-access', message: { text: expect.stringContaining('ALLOW rule 1') } },
      { ruleId: 'unused-access', message: { text: expect.stringContaining('grant dev') } },
    ]);
  });
});
