/** The commands as a person runs them, on files. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { run } from '../../../src/program.ts';

const FILES = fileURLToPath(new URL('./files/', import.meta.url));
const ACCESS = join(FILES, 'access.yaml');
const MESH = join(FILES, 'mesh');
const MESH_FLAGS = ['--access', ACCESS, '--public-url', 'https://broker.example.com'];

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'meshpass-policy-'));
});
afterEach(() => {
  rmSync(directory, { recursive: true });
  process.exitCode = undefined;
  vi.restoreAllMocks();
});

/** @returns exit code and output */
async function meshpass(...argv: readonly string[]) {
  process.exitCode = undefined;
  let printed = '';
  const print = (...parts: readonly unknown[]) => {
    printed += `${parts.join(' ')}\n`;
  };
  vi.spyOn(console, 'log').mockImplementation(print);
  vi.spyOn(console, 'error').mockImplementation(print);
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    printed += String(text);
    return true;
  });
  const code = await run(['node', 'meshpass', 'policy', ...argv]);
  vi.restoreAllMocks();
  return { code, printed };
}

function write(name: string, text: string): string {
  const path = join(directory, name);
  writeFileSync(path, text);
  return path;
}

describe('compile', () => {
  it("prints the same manifests each time, without the keys that are the broker's", async () => {
    const first = await meshpass('compile', ...MESH_FLAGS, MESH);
    expect(first.code).toBe(0);
    const kinds = parseAllDocuments(first.printed).map((document) => (document.toJS() as { kind: string }).kind);
    expect(new Set(kinds)).toEqual(new Set(['Namespace', 'AuthorizationPolicy', 'Sidecar', 'Gateway']));
    expect(first.printed).not.toContain('not-known-here');
    expect(await meshpass('compile', ...MESH_FLAGS, MESH)).toEqual(first);
  });

  it('refuses a Service that the mesh does not have, by line', async () => {
    const { code, printed } = await meshpass('compile', ...MESH_FLAGS, join(MESH, 'theirs.yaml'));
    expect(code).toBe(1);
    expect(printed).toMatch(/access\.yaml:11:9 the mesh has no service orders\.shop.*\n.*\[access_service_unknown\]/);
  });
});

describe('plan', () => {
  it('lists what holders gain, and exits with 0', async () => {
    const { code, printed } = await meshpass('plan', ...MESH_FLAGS, MESH);
    expect(printed).toContain('payments-dev gains GET /orders/* on orders.shop:8080');
    expect(printed).toContain('Every grant works, workspaces reach nothing more, and all other traffic is unchanged.');
    expect(code).toBe(0);
  });

  it('exits with 1 if the change is refused, and names the line that causes it', async () => {
    const deny = write(
      'deny.yaml',
      `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-posts, namespace: shop}
spec: {selector: {matchLabels: {app: orders}}, action: DENY, rules: [{to: [{operation: {methods: [POST]}}]}]}
`,
    );
    const { code, printed } = await meshpass('plan', ...MESH_FLAGS, MESH, deny);
    expect(printed).toContain('grant payments-dev does not work: POST /refunds is refused');
    expect(printed).toContain('AuthorizationPolicy shop/no-posts, rule 1');
    expect(printed).toContain(`${deny}:4`);
    expect(code).toBe(1);
    const markdown = await meshpass('plan', ...MESH_FLAGS, '--output', 'markdown', MESH, deny);
    expect(markdown.printed).toContain('**This change is refused.**');
  });
});

describe('diff', () => {
  it('lists who gains which call, and exits with 1 if that was requested', async () => {
    const wider = write('wider.yaml', readFileSync(join(MESH, 'theirs.yaml'), 'utf8').replace('[GET]', '[GET, PUT]'));
    const [before, context] = [join(MESH, 'theirs.yaml'), ['--context', join(MESH, 'services.yaml')]];
    const { code, printed } = await meshpass('diff', before, wider, '--exit-code', ...context);
    expect(printed).toContain(
      'workloads of namespace dev gain PUT on any path on orders in shop, port 8080 (orders.shop:8080)',
    );
    expect(printed).toContain('before: no rule of AuthorizationPolicy shop/orders');
    expect(code).toBe(1);
    const same = await meshpass('diff', before, before, '--exit-code', ...context);
    expect(same.code).toBe(0);
    expect(same.printed).toMatch(/^The same calls are allowed: \d+ ports were compared\.$/m);
  });

  it('refuses manifests that it does not understand', async () => {
    const broken = write(
      'broken.yaml',
      'apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: a}\nspec: {acton: DENY}\n',
    );
    const { code, printed } = await meshpass('diff', broken, broken);
    expect(code).toBe(1);
    expect(printed).toContain('[manifest_unknown_field]');
  });
});

describe('test', () => {
  const suite = join(FILES, 'access.test.yaml');

  it('decides every case and property, and lists the rules that no case covers', async () => {
    const junit = join(directory, 'junit.xml');
    const { code, printed } = await meshpass('test', ...MESH_FLAGS, suite, '--junit', junit);
    expect(printed).not.toContain('FAIL');
    expect(code).toBe(0);
    expect(printed).toContain('access.yaml:11 POST /refunds of payments-dev');
    expect(printed).toMatch(/9 cases; 5 of 6 rules decided one\./);
    expect(readFileSync(junit, 'utf8')).toContain('<testsuites tests="9" failures="0">');
  });

  it('fails if the cases cover fewer rules than --min-coverage', async () => {
    const { code, printed } = await meshpass('test', ...MESH_FLAGS, suite, '--min-coverage', '90');
    expect(code).toBe(1);
    expect(printed).toContain('Only 5 of 6 rules decided a case, less than --min-coverage 90. [policy_test_failed]');
  });

  it('fails a case with another outcome, a property that one call breaks, and one that matches no call', async () => {
    const failing = write(
      'failing.test.yaml',
      `cases:
  - {who: {grant: payments-dev}, call: GET orders.shop:8080/orders/1, expect: refused}
  - {who: {workload: dev/web}, call: GET orders.shop:8080/x, expect: allowed, by: shop/somebody-else}
  - {who: {grant: payments-dev}, call: ledger-db.shop:5433, expect: refused}
properties:
  - {who: workspaces, call: '* /orders/*', expect: refused}
  - {who: workspaces, call: 'GET nothing.shop/x', expect: refused}
`,
    );
    const junit = join(directory, 'junit.xml');
    const { code, printed } = await meshpass('test', ...MESH_FLAGS, failing, '--manifests', MESH, '--junit', junit);
    expect(code).toBe(1);
    expect(printed).toContain(
      'expected to be refused, but it is allowed: this rule allows it: ALLOW shop/meshpass-payments-dev.orders.8080.allow',
    );
    expect(printed).toContain('it is allowed, but not by shop/somebody-else');
    expect(printed).toContain('the mesh has no port ledger-db.shop:5433');
    expect(printed).toMatch(
      /at orders\.shop:8080 this call is not: meshpass-payments-dev\/any account of cluster\.local: GET \/orders\//,
    );
    expect(printed).toContain('it does not cover any port in the mesh, so it proves nothing');
    expect(printed).toContain('5 of 5 cases failed. [policy_test_failed]');
    expect(readFileSync(junit, 'utf8').match(/<failure /g)).toHaveLength(5);
  });

  it('refuses a file of cases that is wrong, by line', async () => {
    const wrong = write('wrong.test.yaml', 'cases:\n  - {who: {grant: a, plain: true}, call: GET x, expect: maybe}\n');
    const { code, printed } = await meshpass('test', ...MESH_FLAGS, wrong, '--manifests', MESH);
    expect(code).toBe(1);
    expect(printed).toMatch(/wrong\.test\.yaml:2:\d+ expected a proof/);
    expect(printed).toMatch(/wrong\.test\.yaml:2:\d+ expected METHOD SERVICE\.NAMESPACE:PORT/);
    expect(printed).toContain('[policy_cases_invalid]');
  });
});
