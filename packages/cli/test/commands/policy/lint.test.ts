import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { startFakeCluster } from './fake-cluster.ts';
import { runPolicy } from './run-policy.ts';

const GIVEN = fileURLToPath(new URL('../../../../analysis/test/lint/given/', import.meta.url));

let home: string;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'lint-'));
});
afterEach(() => rmSync(home, { recursive: true }));

const gateway = (hosts: string) => `apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: public, namespace: istio-ingress}
spec:
  selector: {istio: ingressgateway}
  servers:
    - port: {number: 443, name: https, protocol: HTTPS}
      tls: {mode: SIMPLE, credentialName: shop}
      hosts: [${hosts}]
`;
const route = (prefix: string) => `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: orders, namespace: shop}
spec:
  hosts: [shop.example.com]
  gateways: [istio-ingress/public]
  http:
    - match: [{uri: {prefix: ${prefix}}}]
      route:
        - destination: {host: orders, port: {number: 8080}}
`;

function put(name: string, text: string | Uint8Array): void {
  mkdirSync(dirname(join(home, name)), { recursive: true });
  writeFileSync(join(home, name), text);
}

const lint = (args: readonly string[], input = '') => runPolicy(home, ['lint', ...args], input);

describe('exit codes', () => {
  test('0 without findings, with a count', async () => {
    put('a.yaml', gateway('shop/shop.example.com'));
    const { code, out } = await lint(['a.yaml']);
    expect([code, out]).toEqual([0, '1 object: 0 errors, 0 warnings, 0 notes\n']);
  });

  test('1 for a finding at or above --fail-on', async () => {
    put('a.yaml', gateway('"*"'));
    expect((await lint(['a.yaml'])).code).toBe(1);
    expect((await lint(['a.yaml', '--fail-on', 'error'])).code).toBe(0);
    expect((await lint(['a.yaml', '--fail-on', 'never'])).code).toBe(0);
  });

  test('2 for an unreadable part, named by line, although the rest is checked', async () => {
    put('a.yaml', `${gateway('"*"')}---\nkind: [\n`);
    const { code, out, err } = await lint(['a.yaml']);
    expect(code).toBe(2);
    expect(err).toMatch(/^a\.yaml:1\d:\d+ error manifest_syntax /);
    expect(out).toContain('MP201');
  });

  test.each([
    [[], /Pass manifest files or directories/],
    [['nowhere.yaml'], /Cannot read \S*nowhere\.yaml/],
    [['a.yaml', '--access', 'nowhere.yaml'], /--access: cannot read \S*nowhere\.yaml/],
    [['a.yaml', '--output', 'xml'], /Allowed choices are/],
  ])('2 for wrong arguments: %j', async (args, message) => {
    put('a.yaml', gateway('shop/shop.example.com'));
    const { code, err } = await lint(args);
    expect(code).toBe(2);
    expect(err).toMatch(message);
  });
});

describe('settings', () => {
  test('are read from the working directory, or from --rules', async () => {
    put('a.yaml', gateway('"*"'));
    put('meshpass-lint.yaml', 'severities: {MP201: error}\n');
    put('ci/lint.yaml', 'severities: {MP201: {severity: off, reason: behind the CDN}}\n');
    expect((await lint(['a.yaml', '--fail-on', 'error'])).code).toBe(1);
    const { code, out } = await lint(['a.yaml', '--rules', 'ci/lint.yaml']);
    expect([code, out]).toEqual([
      0,
      'settings: ci/lint.yaml; MP201 is off (1 finding hidden: behind the CDN)\n1 object: 0 errors, 0 warnings, 0 notes, 1 suppressed\n',
    ]);
  });

  test('of the working directory are not read with an empty file as --rules', async () => {
    put('a.yaml', gateway('"*"'));
    put('meshpass-lint.yaml', 'severities: {MP201: {severity: off, reason: a change under review}}\n');
    expect((await lint(['a.yaml'])).code).toBe(0);
    const { code, out } = await lint(['a.yaml', '--rules', '/dev/null']);
    expect([code, out]).toEqual([1, expect.stringContaining('settings: /dev/null\n')]);
  });

  test('with an unknown key are an error with its line', async () => {
    put('meshpass-lint.yaml', 'severities: {}\nentry_point: []\n');
    put('a.yaml', gateway('"*"'));
    const { code, err } = await lint(['a.yaml']);
    expect([code, err]).toEqual([2, expect.stringContaining('meshpass-lint.yaml:2:1 unknown key "entry_point"')]);
  });
});

test('a baseline is written, hides its findings, and says which are gone', async () => {
  put('a.yaml', gateway('"*"'));
  const wrote = await lint(['a.yaml', '--baseline', 'known.json', '--write-baseline']);
  expect([wrote.code, wrote.out]).toEqual([0, '']);
  expect(await lint(['a.yaml', '--baseline', 'known.json'])).toMatchObject({
    code: 0,
    out: '1 object: 0 errors, 0 warnings, 0 notes, 1 suppressed\n',
  });
  put('a.yaml', gateway('shop/shop.example.com'));
  expect((await lint(['a.yaml', '--baseline', 'known.json'])).out).toMatch(
    /^gone: MP201 Gateway istio-ingress\/public/,
  );
  expect((await lint(['a.yaml', '--write-baseline'])).err).toContain('Pass --baseline with --write-baseline');
  expect((await lint(['a.yaml', '--baseline', 'nowhere.json'])).err).toContain('--baseline: cannot read nowhere.json');
});

describe('input', () => {
  test('standard input, as Helm writes it: findings name the template', async () => {
    const { code, out } = await lint(
      ['-', '--output', 'json'],
      `---\n# Source: shop/templates/gateway.yaml\n${gateway('"*"')}`,
    );
    expect(code).toBe(1);
    expect(JSON.parse(out).findings).toMatchObject([
      { code: 'MP201', template: 'shop/templates/gateway.yaml', place: { file: 'stdin', line: 11 } },
    ]);
  });

  test('a namespace for objects without one, as Helm writes them; otherwise a warning', async () => {
    const bare = gateway('shop/shop.example.com').replace(', namespace: istio-ingress', '');
    const policy = `---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: open}
spec: {rules: [{}]}
`;
    const assumed = await lint(['-', '--output', 'json'], bare + policy);
    expect(assumed.err).toMatch(/^Gateway public \(stdin:1\), .* are assumed to be in default\. Pass --namespace/);
    expect(JSON.parse(assumed.out).findings[0].object.namespace).toBe('default');
    const named = await lint(['-', '--output', 'json', '--namespace', 'edge'], bare + policy);
    expect([named.err, JSON.parse(named.out).findings[0].object.namespace]).toEqual(['', 'edge']);
  });

  test('a directory: every manifest below, together; other files are left out and reported', async () => {
    put('base/gateway.yaml', gateway('shop/shop.example.com'));
    put('shop/route.json', JSON.stringify({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } }));
    put('shop/test/route.yml', route('/testing/'));
    put('notes/readme.yaml', 'hello: world\n');
    put('kustomization.yaml', 'apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n');
    put('chart/Chart.yaml', 'apiVersion: v2\nname: shop\n');
    put('chart/templates/route.yaml', 'apiVersion: v1\nkind: {{ .Values.kind }}\n');
    symlinkSync(home, join(home, 'loop'));
    const { code, out, err } = await lint(['.', '--output', 'json']);
    expect(code).toBe(1);
    const read = JSON.parse(out);
    expect(read.problems).toEqual([]);
    expect(read.objects).toBe(3);
    expect(read.findings).toMatchObject([{ code: 'MP101', place: { file: 'shop/test/route.yml', line: 10 } }]);
    // The Gateway in the other file is known.
    expect(read.findings[0].message).toContain('Gateway istio-ingress/public (port 443 HTTPS)');
    expect(err).toContain('left out: notes/readme.yaml');
    expect(err).toContain('left out: chart/templates');
  });

  test('the access file and the former state', async () => {
    put('now.yaml', route('/'));
    const access = join(GIVEN, 'access.yaml');
    expect((await lint(['now.yaml'])).code).toBe(0);
    expect((await lint(['now.yaml', '--access', access])).out).toContain('MP101');
    expect((await lint(['now.yaml', '--base', join(GIVEN, 'base.yaml')])).out).toContain('MP102');
    put('same.yaml', readFileSync(join(GIVEN, 'base.yaml')));
    expect((await lint(['same.yaml', '--base', join(GIVEN, 'base.yaml')])).code).toBe(0);
  });

  test('a file of gigabytes is refused, not read', async () => {
    put('huge.yaml', '');
    truncateSync(join(home, 'huge.yaml'), 8 * 1024 ** 3);
    const { code, err } = await lint(['huge.yaml']);
    expect(code).toBe(2);
    expect(err).toMatch(/manifest_too_large/);
  });
});

test('of a cluster, kinds that no rule reads are counted, and named where they may not be listed', async () => {
  put('mesh/gateway.yaml', gateway('shop/shop.example.com'));
  const apiVersion = 'gateway.networking.k8s.io/v1';
  const cluster = await startFakeCluster(join(home, 'mesh'), [
    { apiVersion, kind: 'UDPRoute', name: 'udproutes', items: [{ metadata: { name: 'a', namespace: 'shop' } }] },
    { apiVersion, kind: 'BackendLBPolicy', name: 'backendlbpolicies' },
  ]);
  put('kubeconfig', cluster.kubeconfig);
  const { out, err } = await lint(['--kubeconfig', 'kubeconfig', '--output', 'json']);
  await cluster.close();
  expect(err).toBe('');
  expect(JSON.parse(out).notLookedAt).toEqual([
    { apiVersion, kind: 'BackendLBPolicy' },
    { apiVersion, kind: 'UDPRoute', count: 1 },
  ]);
});

test('of a cluster, an Ingress is linted although not every cluster may list it', async () => {
  put('mesh/gateway.yaml', gateway('shop/shop.example.com'));
  const backend = { service: { name: 'orders', port: { number: 80 } } };
  const cluster = await startFakeCluster(join(home, 'mesh'), [
    {
      apiVersion: 'networking.k8s.io/v1',
      kind: 'Ingress',
      name: 'ingresses',
      items: [
        {
          metadata: { name: 'orders', namespace: 'shop-test' },
          spec: { ingressClassName: 'nginx', defaultBackend: backend },
        },
      ],
    },
  ]);
  put('kubeconfig', cluster.kubeconfig);
  const { out } = await lint(['--kubeconfig', 'kubeconfig', '--output', 'json']);
  await cluster.close();
  const { findings, notLookedAt } = JSON.parse(out) as {
    findings: readonly { code: string; object: unknown }[];
    notLookedAt: readonly unknown[];
  };
  expect(notLookedAt).toEqual([]);
  expect(findings.filter(({ code }) => code === 'MP101').map(({ object }) => object)).toEqual([
    { kind: 'Ingress', namespace: 'shop-test', name: 'orders' },
  ]);
});

test('prints only annotations and SARIF', async () => {
  put('a.yaml', gateway('"*"'));
  expect((await lint(['a.yaml', '--output', 'github'])).out).toMatch(
    /^::warning file=a\.yaml,line=9,col=15,title=MP201 gateway-any-host::.*\n$/,
  );
  expect(JSON.parse((await lint(['a.yaml', '--output', 'sarif'])).out).runs[0].results).toMatchObject([
    { ruleId: 'MP201' },
  ]);
});
