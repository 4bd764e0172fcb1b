/** Commands read every file that `kubectl apply -R` applies, with any name and syntax, and report each file that they leave out. */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { run } from '../../../src/program.ts';

const MESH = `
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio-injection: enabled}}
---
apiVersion: v1
kind: Service
metadata: {name: orders, namespace: shop}
spec: {selector: {app: orders}, ports: [{name: http, port: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: orders, namespace: shop}
spec: {template: {metadata: {labels: {app: orders}}, spec: {serviceAccountName: orders}}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: a, namespace: shop}
spec: {action: ALLOW, rules: [{from: [{source: {principals: [cluster.local/ns/dev/sa/ok]}}]}]}
`;
const OPEN = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: open, namespace: shop}
spec: {action: ALLOW, rules: [{}]}
`;
const OPEN_JSON =
  '{"\\u0061piVersion":"security.istio.io/v1","kind":"AuthorizationPolicy","metadata":{"name":"open","namespace":"shop"},"spec":{"action":"ALLOW","rules":[{}]}}';
const ACCESS = `trust: {codespaces: {organization: acme}}
grants:
  dev: {who: [{user: bob}], to: [{service: orders.shop, port: 8080}]}
`;

const utf16 = (text: string) => Buffer.from(`\uFEFF${text}`, 'utf16le');

let home: string;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'meshpass-left-out-'));
  put('g0/mesh.yaml', MESH);
  put('g/mesh.yaml', MESH);
});
afterEach(() => {
  vi.restoreAllMocks();
  process.exitCode = undefined;
  rmSync(home, { recursive: true });
});

function put(name: string, text: string | Uint8Array): string {
  const path = join(home, name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
  return path;
}

async function meshpass(...argv: readonly string[]) {
  process.exitCode = undefined;
  let [out, err] = ['', ''];
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    out += String(text);
    return true;
  });
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

const at = (name: string) => join(home, name);
const canI = (...more: readonly string[]) =>
  meshpass('can-i', '--as', 'dev/web', '--to', 'orders.shop:8080', '--path', '/', at('g'), ...more);

/** Files that kubectl applies. */
const APPLIED: readonly (readonly [string, string, string | Uint8Array])[] = [
  ['called like the values of a chart', 'values-open.yaml', OPEN],
  ['called like a file of npm', 'package.json', JSON.stringify(JSON.parse(OPEN_JSON))],
  ['called like a kustomization', 'kustomization.yaml', OPEN],
  ['called like a chart', 'Chart.yaml', OPEN],
  ['with an explicit key', 'open.yaml', OPEN.replace('apiVersion:', '? apiVersion\n:')],
  ['with an escaped key', 'open.json', OPEN_JSON],
  ['in UTF-16, little endian', 'open.yaml', utf16(OPEN)],
  ['in UTF-16, big endian', 'open.yaml', utf16(OPEN).swap16()],
  ['in a hidden directory', '.k/open.yaml', OPEN],
  ['hidden itself', '.open.yaml', OPEN],
];

describe.each(APPLIED)('a manifest %s', (_, name, text) => {
  beforeEach(() => void put(`g/${name}`, text));
  it('counts for can-i', async () => {
    const { code, out } = await canI();
    expect([out.split('\n')[0], code]).toEqual(['yes', 0]);
  });
  it('counts for diff', async () => {
    const { out, code } = await meshpass('diff', '--exit-code', at('g0'), at('g'));
    expect(out).toContain('gain every call');
    expect(code).toBe(1);
  });
  it('counts for lint', async () => {
    expect((await meshpass('lint', at('g'))).out).toMatch(/^5 objects/m);
  });
});

/** Files that kubectl may apply and that Meshpass does not understand. */
const LEFT: readonly (readonly [string, string, string | Uint8Array])[] = [
  ['that cannot be parsed', 'x.yaml', `${OPEN}  bad: [`],
  ['with a tag', 'x.yaml', OPEN.replace('apiVersion', '!!binary YXBpVmVyc2lvbg==')],
  ['in no encoding that is known', 'x.yaml', Buffer.from(`# caf\xe9\n${OPEN}`, 'latin1')],
  ['in UTF-16 without a byte order mark', 'x.yaml', Buffer.from(OPEN, 'utf16le')],
  ['that Git LFS did not check out', 'x.yaml', 'version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n'],
  ['that is too large', 'x.yaml', `${OPEN}#${' '.repeat(33 * 1024 * 1024)}`],
  ['that is a template', 'chart/templates/x.yaml', OPEN.replace('open', '{{ .Release.Name }}')],
];

describe.each(LEFT)('a file %s', (_, name, text) => {
  beforeEach(() => {
    put(`g/${name}`, text);
    if (name.startsWith('chart')) put('g/chart/Chart.yaml', 'apiVersion: v2\nname: shop\nversion: 1.0.0\n');
  });
  it('makes can-i, who-can, matrix and diff answer unknown, with its name', async () => {
    const asked = [
      await canI(),
      await canI('--output', 'json'),
      await meshpass('who-can', 'orders.shop:8080', at('g')),
      await meshpass('matrix', at('g')),
      await meshpass('diff', at('g0'), at('g')),
      await meshpass('diff', '--output', 'json', '--context', at('g'), at('g0'), at('g0')),
    ];
    for (const { code, out } of asked) {
      expect(code).toBe(4);
      expect(out).toContain(`g/${name}`);
      expect(out).toContain('unknown');
    }
  });
  it.each(['text', 'json', 'sarif', 'github'])('is reported by lint in %s', async (form) => {
    const { out, err } = await meshpass('lint', '--output', form, '--fail-on', 'never', at('g'));
    expect(form === 'text' ? out + err : out).toContain(form === 'sarif' ? name.split('/').at(-1) : `g/${name}`);
  });
});

it('beside a file that was left out, plan refuses as unknown, and test fails', async () => {
  put('g/x.yaml', `${OPEN}  bad: [`);
  const access = put('access.yaml', ACCESS);
  const shared = ['--access', access, '--public-url', 'https://broker.example.com'];
  const planned = await meshpass('plan', ...shared, '--output', 'json', at('g'));
  expect(planned.err).toBe('');
  expect(planned.code).toBe(4);
  expect(planned.out).toContain('g/x.yaml');
  const cases = put(
    'cases.yaml',
    'cases:\n  - {who: {workload: dev/web}, call: GET orders.shop:8080/, expect: refused}\n',
  );
  const tested = await meshpass('test', cases, ...shared, '--manifests', at('g'));
  expect(tested.code).toBe(1);
  expect(tested.out).toContain('g/x.yaml');
});

it('files of tools decide nothing, and leave a verdict as it is', async () => {
  put('g/Chart.yaml', 'apiVersion: v2\nname: shop\nversion: 1.0.0\n');
  put('g/values.yaml', 'kind: DaemonSet\nreplicas: 1\n');
  put(
    'g/kustomization.yaml',
    'apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [mesh.yaml]\n',
  );
  put('g/tsconfig.json', '{\n  // strict\n  "compilerOptions": {"strict": true,},\n}\n');
  put('g/.github/workflows/ci.yml', 'on: push\njobs: {}\n');
  put('g/.git/x.yaml', OPEN);
  put('g/empty.yaml', '');
  const { code, out } = await canI();
  expect([out.split('\n')[0], code]).toEqual(['no', 1]);
  const linted = await meshpass('lint', '--output', 'json', at('g'));
  expect(linted.code).toBe(0);
  expect(JSON.parse(linted.out).leftOut).toEqual([]);
  expect(linted.err).toMatch(/left out: .*\.git: /);
});

it('a plain manifest among the templates of a chart is read', async () => {
  put('g/Chart.yaml', 'apiVersion: v2\nname: shop\nversion: 1.0.0\n');
  put('g/templates/open.yaml', OPEN);
  expect((await canI()).code).toBe(0);
});

it('lint fails with 2 for a file below a directory that cannot be parsed', async () => {
  put('g/x.yaml', OPEN.replace('apiVersion', '!!binary YXBpVmVyc2lvbg=='));
  expect((await meshpass('lint', at('g'))).code).toBe(2);
});

it('lint fails with 2 for a file of --base that cannot be parsed', async () => {
  put('g/x.yaml', `${OPEN}  bad: [`);
  expect((await meshpass('lint', '--base', at('g'), at('g0'))).code).toBe(2);
});

it('an assumed namespace default is listed among the assumptions', async () => {
  put('g/open.yaml', OPEN.replace(', namespace: shop', ''));
  const said = /AuthorizationPolicy open \(.*open\.yaml:1\) has no namespace and is assumed to be in default\./;
  const access = put('access.yaml', ACCESS);
  expect((await canI()).out).toMatch(said);
  expect(JSON.parse((await canI('--output', 'json')).out).assumed).toEqual([expect.stringMatching(said)]);
  expect((await meshpass('diff', at('g0'), at('g'))).out).toMatch(said);
  expect((await canI('--namespace', 'shop')).out).not.toMatch(said);
  expect((await meshpass('diff', '--namespace', 'shop', at('g0'), at('g'))).out).not.toMatch(said);
  const planned = await meshpass('plan', '--access', access, '--public-url', 'https://broker.example.com', at('g'));
  expect(planned.out + planned.err).toMatch(said);
  const shared = ['--access', access, '--public-url', 'https://broker.example.com', '--output', 'markdown'];
  expect((await meshpass('plan', ...shared, at('g'))).out).toMatch(
    /^`AuthorizationPolicy open .* assumed to be in default\.`$/m,
  );
});

describe('a link', () => {
  it.each([
    ['to a directory', '../lib'],
    ['to a directory that was not checked out', '../submodule/mesh'],
    ['to itself', 'lib'],
  ])('%s makes answers unknown, with its name', async (_, target) => {
    put('lib/open.yaml', OPEN);
    symlinkSync(target, at('g/lib'));
    const { code, out } = await canI();
    expect(code).toBe(4);
    expect(out).toContain('g/lib: it is not a regular file');
    expect(JSON.parse((await meshpass('lint', '--output', 'json', at('g'))).out).leftOut).toMatchObject([
      { path: at('g/lib') },
    ]);
  });

  it('to a file that is no manifest decides nothing', async () => {
    put('lib/README.md', '# Library');
    symlinkSync('../lib/README.md', at('g/README'));
    expect((await canI()).code).toBe(1);
  });
});

it('diff answers unknown for a skipped file of either side, even if no port remains to compare', async () => {
  put('a/x.yaml', `${OPEN}  bad: [`);
  put('b/y.yaml', `${OPEN}  bad: [`);
  for (const more of [[], ['--output', 'markdown']]) {
    const { code, out } = await meshpass('diff', ...more, at('a'), at('b'));
    expect(code).toBe(4);
    expect(out).toMatch(/unknown.*a\/x\.yaml.*b\/y\.yaml/is);
    expect(out).not.toContain('0 unknown');
  }
});
