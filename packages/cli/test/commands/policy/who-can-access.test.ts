/** `who-can --access`: the grants that open a call and their people, beside the identities of the mesh. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { run } from '../../../src/program.ts';

const MESH = `
apiVersion: v1
kind: Service
metadata: {name: orders, namespace: shop}
spec: {selector: {app: orders}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec: {selector: {app: db}, ports: [{name: tcp, port: 5432}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: nobody, namespace: shop}
spec: {}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict, namespace: shop}
spec: {mtls: {mode: STRICT}}
`;
const ACCESS = `trust:
  codespaces: {organization: acme}
deny:
  - {user_id: 13}
grants:
  payments-dev:
    who:
      - {team: acme/payments, repository: acme/payments-*}
      - {user: bob}
    except: [{user_id: 12}]
    to:
      - {service: orders.shop, port: 80, allow: [GET /orders/*, {operation: POST /refunds, require: {group: [finance]}}]}
  data:
    who: [{user: carol}]
    to: [{service: db.shop, port: 5432}]
  nightly:
    who: [{user: dan}]
    during: [{from: "22:00", to: "06:00", zone: Europe/Berlin}]
    to: [{service: orders.shop, port: 80, allow: [DELETE /orders/*]}]
`;

let folder: string;
let said: string[] = [];
let failed: string[] = [];
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'meshpass-who-can-'));
  writeFileSync(join(folder, 'mesh.yaml'), MESH);
  writeFileSync(join(folder, 'access.yaml'), ACCESS);
});
afterAll(() => rmSync(folder, { recursive: true }));
beforeEach(() => {
  [said, failed] = [[], []];
  vi.spyOn(console, 'log').mockImplementation((text: string) => void said.push(text));
  vi.spyOn(console, 'error').mockImplementation((text: string) => void failed.push(text));
});
afterEach(() => {
  vi.restoreAllMocks();
  process.exitCode = undefined;
});

async function ask(target: string, ...more: string[]) {
  const access = more.includes('--no-access') ? [] : ['--access', join(folder, 'access.yaml')];
  const argv = [target, join(folder, 'mesh.yaml'), ...access, ...more.filter((one) => one !== '--no-access')];
  const code = await run(['node', 'meshpass', 'policy', 'who-can', ...argv]);
  return { code, text: said.join('\n') };
}

interface Answer {
  readonly who: readonly { readonly who: string }[];
  readonly grants: readonly {
    readonly grant: string;
    readonly people: readonly string[];
    readonly except: readonly string[];
    readonly conditions: readonly string[];
    readonly claims: object;
    readonly place: { readonly line: number };
    readonly decision: { readonly rule: { readonly name: string } };
  }[];
}
const answer = async (target: string, ...more: string[]): Promise<Answer> =>
  JSON.parse((await ask(target, ...more, '--output', 'json')).text);

describe('who-can --access', () => {
  it('names the grant that opens a call and its people, and none without the file', async () => {
    expect((await ask('orders.shop:80', '--path', '/orders/1', '--no-access')).text).toMatch(/^Nobody\.\n/);
    said = [];
    const { code, text } = await ask('orders.shop:80', '--path', '/orders/1');
    expect(code).toBe(0);
    expect(text).toMatch(/^holders of grant payments-dev, .*access\.yaml:6$/m);
    expect(text).toContain('team acme/payments, repository acme/payments-*');
    expect(text).toContain('but not: user id 12');
    expect(text).not.toContain('nightly');
  });

  it('asks for the call: another method is of another grant, and of its time windows', async () => {
    const { who, grants } = await answer('orders.shop:80', '--path', '/orders/1', '--method', 'DELETE');
    expect(who).toEqual([]);
    expect(grants).toMatchObject([
      { grant: 'nightly', people: ['user dan'], conditions: ['only in its time windows'] },
    ]);
    said = [];
    expect((await answer('orders.shop:80', '--path', '/admin')).grants).toEqual([]);
  });

  it('lists the claims that the proof must have', async () => {
    const { grants } = await answer('orders.shop:80', '--path', '/refunds', '--method', 'POST');
    expect(grants).toMatchObject([{ grant: 'payments-dev', claims: { group: ['finance'] } }]);
    expect(grants[0]!.except).toEqual(['user id 12', 'user id 13']);
  });

  it('knows a port by its workload, and bytes that are no HTTP', async () => {
    expect((await answer('db.shop:5432', '--tcp')).grants).toMatchObject([{ grant: 'data', place: { line: 13 } }]);
  });

  it('does not count a grant as open if a policy of the mesh denies it', async () => {
    const deny = join(folder, 'deny.yaml');
    writeFileSync(
      deny,
      'apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: closed, namespace: shop}\nspec: {action: DENY, rules: [{to: [{operation: {paths: [/orders/*]}}]}]}\n',
    );
    expect((await answer('orders.shop:80', '--path', '/orders/1', deny)).grants).toEqual([]);
  });

  it('refuses an access file that grants a service which the mesh does not have, by line', async () => {
    const other = join(folder, 'other.yaml');
    writeFileSync(other, ACCESS.replace('db.shop', 'dbs.shop'));
    expect((await ask('orders.shop:80', '--no-access', '--access', other)).code).toBe(1);
    expect(failed.join('\n')).toMatch(/other\.yaml:15:\d+ the mesh has no service dbs\.shop/);
  });
});
