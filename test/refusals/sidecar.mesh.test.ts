/**
 * Refusals of the mesh itself for stolen or misused credentials: a thief who stands inside of the cluster, past the edge,
 * straight at the mesh gateway and at the workloads' own sidecars.
 */

import type { TunnelReport, TunnelRequest } from '@meshpass/cli/drill/tunnel';
import type { AdversarialClient } from '@meshpass/lab/adversarial-client/drive';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { completed, type DataPath, enrolled, idTokenProof, LEDGER, ORDERS, openDataPath, until } from '../mesh.ts';

let dataPath: DataPath;
let alice: AdversarialClient;
let bob: AdversarialClient;
let thief: AdversarialClient;

beforeAll(async () => {
  dataPath = await openDataPath();
  alice = dataPath.adversary();
  bob = alice.as('bob');
  await enrolled(dataPath, alice);
  const proof = dataPath.secret(await dataPath.idp.idToken({ subject: '00u2bob' }));
  await completed(dataPath, bob, await bob.enrol(idTokenProof(proof)), 'sre-bulk');
  thief = dataPath.adversary('github');
  await thief.take(await alice.show());
  await thief.as('bob').take(await bob.show());
  // The policies of a new session's grants are there before it; what sidecars know of the keys comes within a second.
  await until(
    () => gateway('/orders/1'),
    (report) => status(report) === 200,
  );
});
afterAll(() => dataPath?.close());

const GRANT = 'payments-dev';
const OUTBOUND = (port: number, host: string) => `outbound_.${port}_._.${host}`;

interface Ask extends Partial<TunnelRequest> {
  readonly method?: string;
  readonly token?: string | undefined;
  readonly headers?: string;
  readonly by?: AdversarialClient;
}

/** Address to which the call goes, past the edge. */
async function ask(straightTo: { host: string; port: number }, path: string, more: Ask = {}): Promise<TunnelReport> {
  const { by = thief, method = 'GET', headers = '', ...order } = more;
  const token = 'token' in more ? more.token : (await by.show()).identityToken;
  const line = token === undefined ? '' : `x-meshpass-token: ${token}\r\n`;
  const send = `${method} ${path} HTTP/1.1\r\nHost: orders.shop:8080\r\ncontent-length: 0\r\n${line}${headers}\r\n`;
  return by.tunnel({ target: ORDERS, grant: GRANT, send, ...order, straightTo });
}

const gateway = (path: string, more: Ask = {}) => {
  const [host, port] = dataPath.lab.gatewayAddress.split(':');
  return ask({ host: host!, port: Number(port) }, path, more);
};
const pod = (name: string, port: number, path: string, more: Ask = {}) =>
  ask({ host: dataPath.lab.hosts[name]!.ip, port }, path, more);

function status(report: TunnelReport): number | string {
  const found = /^HTTP\/1\.1 (\d{3}) /.exec(report.answer ?? '')?.[1];
  return found ? Number(found) : report.stage;
}

describe('the sidecar of orders, reached by the mesh gateway, refuses', () => {
  it.each([
    ['a path that is not granted', 'GET', '/admin/customers'],
    ['a granted path in another case', 'GET', '/Orders/1'],
    ['a path that leaves the granted one', 'GET', '/orders/../admin/x'],
    ['a path that leaves the granted one, encoded', 'GET', '/orders/%2e%2e/admin/x'],
    ['a path with a slash more', 'GET', '//admin/x'],
    ['a method that is not granted', 'DELETE', '/orders/1'],
    ['a method of another path', 'POST', '/orders/1'],
    ['an invented method', 'PATCH', '/whoami'],
  ])('%s', async (_, method, path) => {
    const report = await gateway(path, { method });
    expect([403, 400, 404]).toContain(status(report));
    expect(report.answer).not.toContain('secret');
    if (!path.includes('..') && !path.includes('%2e')) expect(status(report)).toBe(403);
  });

  it('a request without an identity token', async () => {
    expect(status(await gateway('/orders/1', { token: undefined }))).toBe(403);
  });

  it('a token that is garbage, unsigned, or changed', async () => {
    const token = (await thief.show()).identityToken!;
    const [head, claims, signature] = token.split('.');
    const more = { ...JSON.parse(Buffer.from(claims!, 'base64url').toString()), grants: ['sre-bulk'] };
    const changed = Buffer.from(JSON.stringify(more)).toString('base64url');
    const none = Buffer.from('{"alg":"none","typ":"JWT"}').toString('base64url');
    for (const bad of ['garbage', `${head}.${claims}.`, `${head}.${changed}.${signature}`, `${none}.${claims}.`])
      expect([401, 403]).toContain(status(await gateway('/orders/1', { token: bad })));
  });

  it('an ID token of ours that was issued for another audience', async () => {
    const { access_token: token } = (await alice.token('sts.amazonaws.com')).json as { access_token: string };
    expect([401, 403]).toContain(status(await gateway('/orders/1', { token: dataPath.secret(token) })));
  });

  it("a proof of the company's IdP instead of our token", async () => {
    const token = dataPath.secret(await dataPath.idp.idToken({ subject: '00u2bob' }));
    expect([401, 403]).toContain(status(await gateway('/orders/1', { token })));
  });

  it("somebody else's token, of another grant", async () => {
    const { identityToken } = await thief.as('bob').show();
    expect(status(await gateway('/orders/1', { token: identityToken }))).toBe(403);
  });

  it('a token in another place than ours', async () => {
    const { identityToken } = await thief.show();
    const headers = `authorization: Bearer ${identityToken}\r\n`;
    expect(status(await gateway('/orders/1', { token: undefined, headers }))).toBe(403);
  });

  it("somebody else's certificate with one's own token", async () => {
    await thief.as('mixed').take({ ...(await thief.show()), svids: (await thief.as('bob').show()).svids });
    const mixed = thief.as('mixed');
    expect(status(await gateway('/orders/1', { by: mixed, grant: 'sre-bulk' }))).toBe(403);
    // With both of them it is bob, who may.
    expect(status(await gateway('/admin/x', { by: thief.as('bob'), grant: 'sre-bulk' }))).toBe(200);
  });

  it('identity headers that a client wrote itself', async () => {
    const headers = 'x-meshpass-login: admin\r\nx-meshpass-sub: github:1\r\nx-meshpass-session: none\r\n';
    const report = await gateway('/whoami', { headers });
    expect(status(report)).toBe(200);
    expect(report.answer).toContain('"x-meshpass-login":"alice"');
    expect(report.answer).not.toMatch(/admin|github:1"/);
    expect(report.answer).not.toContain('x-meshpass-token');
  });

  it('requests on a connection that claims to carry no HTTP', async () => {
    const report = await gateway('/orders/1', { alpn: ['istio'], token: undefined });
    expect(status(report)).not.toBe(200);
    expect(report.answer ?? '').not.toContain('shipped');
    const admin = await gateway('/admin/x', { alpn: ['istio'] });
    expect(admin.answer ?? '').not.toContain('secret');
  });

  it('a connection without a certificate, or with an unusable one', async () => {
    expect((await gateway('/orders/1', { grant: 'none' })).stage).toBe('inner');
  });
});

describe('the mesh gateway passes on no connection to', () => {
  it.each([
    ['a service that no grant names', OUTBOUND(80, 'web.dev.svc.cluster.local')],
    ['a service of the control plane', OUTBOUND(15012, 'istiod.istio-system.svc.cluster.local')],
    ['itself', OUTBOUND(15443, 'meshpass-gateway.meshpass-system.svc.cluster.local')],
    ['a plain host name', 'web.dev.svc.cluster.local'],
    ['the internet', 'example.com'],
  ])('%s', async (_, sni) => {
    const report = await gateway('/', { sni, by: thief.as('bob'), grant: 'sre-bulk' });
    expect(report).toMatchObject({ stage: 'inner' });
    expect(report.answer).toBeUndefined();
  });

  it('a port of a granted host that is not granted, beyond the guard at its sidecar', async () => {
    const sni = OUTBOUND(9090, 'orders.shop.svc.cluster.local');
    const report = await gateway('/', { sni });
    expect(status(report)).not.toBe(200);
    expect(report.answer ?? '').not.toContain('admin');
  });
});

describe('the guard, at a workload that the thief dials itself, refuses', () => {
  it('a service that is not granted', async () => {
    const sni = OUTBOUND(80, 'web.dev.svc.cluster.local');
    const report = await pod('web', 8080, '/', { sni });
    expect(status(report)).toBe(403);
    expect(report.answer).toContain('RBAC: access denied');
  });

  it('a port that is not granted', async () => {
    const report = await pod('orders', 9090, '/', { sni: OUTBOUND(9090, 'orders.shop.svc.cluster.local') });
    expect(status(report)).toBe(403);
  });

  it.each([
    '',
    'outbound_.8080_v2_.orders.shop.svc.cluster.local',
    'orders',
    'outbound_.8081_._.orders.shop.svc.cluster.local',
  ])('the granted service under the name %j', async (sni) => {
    expect(status(await pod('orders', 8080, '/orders/1', { sni }))).toBe(403);
  });

  it('a database connection of a grant that has none', async () => {
    const by = thief.as('bob');
    const report = await pod('ledger-db', 5432, '/', { by, grant: 'sre-bulk', target: LEDGER, alpn: ['istio'] });
    expect(report.answer ?? '').toBe('');
    expect(report.stage).toBe('inner');
  });

  it('plain text', async () => {
    const plain = await dataPath.lab.exec('github', [
      ...['curl', '-sS', '-m', '5', '-o', '/dev/null', '-w', '%{http_code}'],
      `http://${dataPath.lab.hosts.orders!.ip}:8080/orders/1`,
    ]);
    expect(plain.stdout).toBe('000');
  });
});

describe('the credentials of a session that has ended', () => {
  it('are refused by the sidecar, and its ServiceAccount is gone', async () => {
    expect(status(await gateway('/orders/1'))).toBe(200);
    const { svids } = await alice.show();
    expect(await dataPath.accounts()).toContain(svids[GRANT]!.spiffeId.replace(/^.*\/ns\/(.*)\/sa\//, '$1/'));
    expect(await alice.speak('DELETE', '/session')).toMatchObject({ status: 204 });
    await until(
      () => gateway('/orders/1'),
      (report) => status(report) === 403,
    );
    expect(status(await pod('orders', 8080, '/orders/1'))).toBe(403);
    const database = await gateway('', { target: LEDGER, alpn: ['istio'] });
    expect(database.stage).toBe('inner');
    await until(
      () => dataPath.accounts(),
      (accounts) => accounts.every((one) => !one.startsWith('meshpass-payments-dev/alice')),
    );
  });

  it('are refused beside the session of another person, which continues', async () => {
    const by = thief.as('bob');
    expect(status(await gateway('/orders/1', { by, grant: 'sre-bulk' }))).toBe(200);
    // Her certificate with his token.
    await thief.as('both').take({ ...(await thief.show()), identityToken: (await by.show()).identityToken! });
    expect(status(await gateway('/orders/1', { by: thief.as('both') }))).toBe(403);
  });
});
