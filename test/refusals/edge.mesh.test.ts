/** Clients that the edge must not let through, as they come from the internet. */
import { generateKeyPairSync } from 'node:crypto';
import { connectIstiod } from '@meshpass/broker/mesh/istiod/istiod';
import type { TunnelRequest } from '@meshpass/cli/drill/tunnel';
import { createCsr } from '@meshpass/identity';
import type { AdversarialClient } from '@meshpass/lab/adversarial-client/drive';
import type { Svid } from '@meshpass/lab/adversarial-client/holder';
import { connectionsOn } from '@meshpass/lab/network/sockets';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  type AuditedDecision,
  completed,
  type DataPath,
  enrolled,
  LEDGER,
  ORDERS,
  openDataPath,
  until,
} from '../mesh.ts';
import { sendRaw } from './raw-client.ts';

let dataPath: DataPath;
let adversary: AdversarialClient;
let session: string;

beforeAll(async () => {
  dataPath = await openDataPath();
  adversary = dataPath.adversary();
  session = await enrolled(dataPath, adversary);
});
afterAll(() => dataPath?.close());
// No agent renews the lease, and these tests take longer than it lasts.
beforeEach(async () => {
  expect(await adversary.renew()).toMatchObject({ kind: 'lease' });
});

const GRANT = 'payments-dev';
const SNI = 'outbound_.8080_._.orders.shop.svc.cluster.local';
const request = async (path: string, token = true) =>
  `GET ${path} HTTP/1.1\r\nHost: orders.shop:8080\r\n${token ? `x-meshpass-token: ${(await adversary.show()).identityToken}\r\n` : ''}\r\n`;

const tunnel = (order: Partial<TunnelRequest>, by = adversary) =>
  by.tunnel({ target: ORDERS, grant: GRANT, edge: dataPath.meshpass.edge, ...order });

/** Rows of the edge's decisions come a moment after the decision. */
const refusals = (code: string, after: string, count = 1) =>
  until(
    async () => (await dataPath.audit()).filter((row) => Number(row.seq) > Number(after) && row.code === code),
    (found) => found.length >= count,
  );
async function audited(code: string, after: string, more: object = {}) {
  const [row] = await refusals(code, after);
  expectRefusal(row!, more);
  return row!;
}
function expectRefusal(row: AuditedDecision, more: object = {}): void {
  expect(row).toMatchObject({ action: 'tunnel', outcome: 'refused', ...more });
  expect(row.reason).toMatch(/\w{3}/);
}
const lastRow = async () => (await dataPath.audit()).at(-1)!.seq;

it('(the honest way in works)', async () => {
  const report = await tunnel({ send: await request('/orders/1') });
  expect(report).toMatchObject({ stage: 'answer' });
  expect(report.answer).toMatch(/^HTTP\/1\.1 200 /);
});

it('(and by the SNI of the inner connection, as Envoy asks)', async () => {
  const report = await tunnel({ target: `${SNI}:15443`, sni: SNI, send: await request('/orders/1') });
  expect(report).toMatchObject({ stage: 'answer' });
  expect(report.answer).toMatch(/^HTTP\/1\.1 200 /);
});

describe('the edge refuses, and audits', () => {
  it('a client without a certificate', async () => {
    const last = await lastRow();
    expect(await tunnel({ grant: 'none' })).toMatchObject({
      stage: 'edge',
      edgeStatus: 401,
      edgeCode: 'tunnel_certificate_missing',
    });
    await audited('tunnel_certificate_missing', last);
  });

  it('a certificate that its holder made', async () => {
    const last = await lastRow();
    const report = await tunnel({ outerCertificate: await selfSigned(), grant: GRANT });
    expect(report).toMatchObject({ stage: 'edge', edgeStatus: 401, edgeCode: 'tunnel_certificate_untrusted' });
    await audited('tunnel_certificate_untrusted', last);
  });

  it('a workload of the mesh that is no session', async () => {
    const last = await lastRow();
    const workload = await meshSvid('shop', 'client');
    await adversary.as('workload').take({ ...(await adversary.show()), svids: { client: workload } });
    const report = await tunnel({ grant: 'client' }, adversary.as('workload'));
    expect(report).toMatchObject({ stage: 'edge', edgeStatus: 403, edgeCode: 'tunnel_session_unknown' });
    await audited('tunnel_session_unknown', last, { session_id: null });
  });

  it('the certificate of a session that has ended', async () => {
    const ended = adversary.as('ended');
    await enrolled(dataPath, ended);
    expect(await tunnel({}, ended)).toMatchObject({ stage: 'answer' });
    expect(await ended.speak('DELETE', '/session')).toMatchObject({ status: 204 });
    const last = await lastRow();
    expect(await tunnel({}, ended)).toMatchObject({
      stage: 'edge',
      edgeStatus: 403,
      edgeCode: 'tunnel_session_unknown',
    });
    await audited('tunnel_session_unknown', last);
  });

  it('the certificate of a session that an operator has ended', async () => {
    const ended = adversary.as('closed by an operator');
    const id = await enrolled(dataPath, ended);
    const answer = await fetch(`${dataPath.meshpass.operatorUrl}/admin/sessions/close`, {
      method: 'POST',
      headers: { authorization: `Bearer ${dataPath.meshpass.operatorToken}`, 'content-type': 'application/json' },
      body: JSON.stringify({ id }),
    });
    expect(await answer.json()).toMatchObject({ closed: [id] });
    expect(await tunnel({}, ended)).toMatchObject({ stage: 'edge', edgeCode: 'tunnel_session_unknown' });
  });

  it.each([
    ['a service that no grant names', 'web.dev.svc.cluster.local:80'],
    ['a port that is not granted', 'orders.shop.svc.cluster.local:9090'],
    ['a service of the control plane', 'istiod.istio-system.svc.cluster.local:15012'],
    ['the API server', 'kubernetes.default.svc.cluster.local:443'],
    ['an address', '10.96.1.10:8080'],
    ["the edge's own host", 'localhost:9090'],
    ['a short name', 'orders.shop:8080'],
  ])('%s', async (_, target) => {
    const last = await lastRow();
    const report = await tunnel({ target, sni: 'x' });
    expect(report).toMatchObject({ stage: 'edge', edgeStatus: 403, edgeCode: 'tunnel_target_not_granted' });
    await audited('tunnel_target_not_granted', last, { session_id: session, target });
  });

  it('a service that another grant has', async () => {
    const other = adversary.as('bob');
    const token = await dataPath.idp.idToken({ subject: '00u2bob' });
    const form = {
      subject_token_type: 'urn:ietf:params:oauth:token-type:id_token',
      subject_token: dataPath.secret(token),
    };
    await completed(dataPath, other, await other.enrol(form), 'sre-bulk');
    expect(await tunnel({ grant: 'sre-bulk' }, other)).toMatchObject({ stage: 'answer' });
    const last = await lastRow();
    expect(await tunnel({ grant: 'sre-bulk', target: LEDGER }, other)).toMatchObject({
      stage: 'edge',
      edgeStatus: 403,
      edgeCode: 'tunnel_target_not_granted',
    });
    await audited('tunnel_target_not_granted', last, { target: LEDGER });
  });

  it.each([
    ['another granted service', 'outbound_.5432_._.ledger-db.shop.svc.cluster.local'],
    ['a service that is not granted', 'outbound_.80_._.web.dev.svc.cluster.local'],
    ['another port', 'outbound_.9090_._.orders.shop.svc.cluster.local'],
    ['a subset', 'outbound_.8080_v1_.orders.shop.svc.cluster.local'],
    ['the plain name', 'orders.shop.svc.cluster.local'],
    ['no Istio name', 'example.com'],
  ])('an inner connection to %s than CONNECT named', async (_, sni) => {
    const last = await lastRow();
    const report = await tunnel({ sni, send: await request('/orders/1') });
    expect(report.stage).toBe('inner');
    expect(report.error).toMatch(/unrecognized/i);
    await audited('tunnel_sni_mismatch', last, { session_id: session, target: ORDERS });
  });

  it.each([
    ['a service that no grant names', 'outbound_.80_._.web.dev.svc.cluster.local', 'web.dev.svc.cluster.local:80'],
    ['a subset of it', 'outbound_.80_.v1_.web.dev.svc.cluster.local', 'web.dev.svc.cluster.local:80'],
    ['the control plane', 'outbound_.15012_._.istiod.istio-system.svc.cluster.local', undefined],
  ])('%s, asked for by its SNI', async (_, sni, target = 'istiod.istio-system.svc.cluster.local:15012') => {
    const last = await lastRow();
    const report = await tunnel({ target: `${sni}:15443`, sni });
    expect(report).toMatchObject({ stage: 'edge', edgeStatus: 403, edgeCode: 'tunnel_target_not_granted' });
    const row = await audited('tunnel_target_not_granted', last, { session_id: session, target });
    expect(JSON.parse(row.detail!)).toMatchObject({ sni });
  });

  it('an inner connection to another subset than CONNECT named', async () => {
    const last = await lastRow();
    const report = await tunnel({ target: `${SNI.replace('._.', '.v1_.')}:15443`, sni: SNI });
    expect(report).toMatchObject({ stage: 'inner', error: expect.stringMatching(/unrecognized/i) });
    await audited('tunnel_sni_mismatch', last, { session_id: session, target: ORDERS });
  });

  it('bytes before the answer that are no ClientHello', async () => {
    const last = await lastRow();
    const report = await sendRaw(dataPath, (await adversary.show()).svids[GRANT]!, {
      head: `CONNECT ${ORDERS} HTTP/1.1\r\nHost: ${ORDERS}\r\n\r\nGET / HTTP/1.1\r\n`,
    });
    expect(report.answer).toBe('HTTP/1.1 200 OK\r\n\r\n\u0015\u0003\u0003\u0000\u0002\u0002\u0032');
    expect(report.ended).toBe(true);
    await audited('tunnel_sni_mismatch', last, { session_id: session, target: ORDERS });
  });

  it('an inner connection that is no TLS', async () => {
    const last = await lastRow();
    const report = await sendRaw(dataPath, (await adversary.show()).svids[GRANT]!, {
      after: `GET /orders/1 HTTP/1.1\r\nHost: x\r\n\r\n${'x'.repeat(200)}`,
    });
    expect(report.answer).toMatch(/^HTTP\/1\.1 200 /);
    expect(report.ended).toBe(true);
    const rows = (
      await until(
        () => dataPath.audit(),
        (all) => all.some((row) => Number(row.seq) > Number(last) && row.outcome === 'refused'),
      )
    ).filter((row) => Number(row.seq) > Number(last) && row.outcome !== 'ended');
    expect(rows).toMatchObject([{ action: 'tunnel', outcome: 'refused', target: ORDERS }]);
  });

  it.each([
    ['another method', 'GET http://orders.shop:8080/ HTTP/1.1\r\nHost: orders.shop:8080\r\n\r\n'],
    ['a body', `CONNECT ${ORDERS} HTTP/1.1\r\nHost: ${ORDERS}\r\nContent-Length: 5\r\n\r\n`],
    ['two Host headers', `CONNECT ${ORDERS} HTTP/1.1\r\nHost: ${ORDERS}\r\nHost: ${LEDGER}\r\n\r\n`],
    ['another Host', `CONNECT ${ORDERS} HTTP/1.1\r\nHost: ${LEDGER}\r\n\r\n`],
    ['an SNI at another port', `CONNECT ${SNI}:443 HTTP/1.1\r\nHost: ${SNI}:443\r\n\r\n`],
    ["an SNI that is not Istio's", 'CONNECT outbound_.8080_.x:15443 HTTP/1.1\r\nHost: outbound_.8080_.x:15443\r\n\r\n'],
    ['a head without an end', `CONNECT ${ORDERS} HTTP/1.1\r\nX: ${'x'.repeat(8000)}`],
    ['a NUL in it', `CONNECT ${ORDERS}\0 HTTP/1.1\r\nHost: ${ORDERS}\r\n\r\n`],
  ])('a request with %s', async (_, head) => {
    const last = await lastRow();
    const report = await sendRaw(dataPath, (await adversary.show()).svids[GRANT]!, { head });
    expect(report.answer).toMatch(/^HTTP\/1\.1 400 /);
    expect(report.answer).toContain('"error_code":"tunnel_request_malformed"');
    expect(report.ended).toBe(true);
    await audited('tunnel_request_malformed', last, { session_id: session });
  });
});

it('after the end of a session the kernel of the edge has no socket of its tunnel, to either side', async () => {
  const held = adversary.as('held');
  await enrolled(dataPath, held);
  const [, gatewayPort] = dataPath.lab.gatewayAddress.split(':');
  const sockets = async () =>
    (await connectionsOn(dataPath.lab.exec, 'meshpass')).filter(
      ({ localPort, remotePort }) => localPort === dataPath.meshpass.edge.port || remotePort === Number(gatewayPort),
    );
  // Of tests before this one.
  await until(sockets, (found) => found.length === 0);
  const order = { target: ORDERS, grant: GRANT, edge: dataPath.meshpass.edge };
  const token = (await held.show()).identityToken!;
  const send = `GET /orders/1 HTTP/1.1\r\nHost: orders.shop:8080\r\nx-meshpass-token: ${token}\r\n\r\n`;
  expect(await held.hold({ ...order, send })).toMatchObject({ stage: 'answer' });
  expect(await sockets()).toHaveLength(2);
  const cut = held.cut();
  expect(await held.speak('DELETE', '/session')).toMatchObject({ status: 204 });
  await cut;
  await until(sockets, (found) => found.length === 0);
});

describe('a slow client is cut off and audited if it', () => {
  const SLOW = [
    ['says nothing at all', { tls: false, head: '' }],
    ['stops in the middle of the TLS handshake', { tls: false, head: '\u0016\u0003\u0001\u0002' }],
    ['stops in the middle of CONNECT', { head: `CONNECT ${ORDERS} HTTP/1.1\r\nHo` }],
    ['says no inner hello', { head: `CONNECT ${ORDERS} HTTP/1.1\r\nHost: ${ORDERS}\r\n\r\n` }],
  ] as const;
  /** Reports by client. All clients wait at the same time. */
  let reports: ReadonlyMap<string, Awaited<ReturnType<typeof sendRaw>>>;
  let last: string;

  beforeAll(async () => {
    last = await lastRow();
    const svid = (await adversary.show()).svids[GRANT]!;
    const sent = SLOW.map(
      async ([name, order]) => [name, await sendRaw(dataPath, svid, { ...order, patience: 15_000 })] as const,
    );
    reports = new Map(await Promise.all(sent));
  });

  it.each(SLOW)('%s', async (name) => {
    expect(reports.get(name)?.ended).toBe(true);
    const rows = await refusals('tunnel_handshake_timeout', last, SLOW.length);
    expect(rows).toHaveLength(SLOW.length);
    for (const row of rows) expectRefusal(row);
  });
});

it('after all of this the honest way in still works', async () => {
  const report = await tunnel({ send: await request('/orders/2') });
  expect(report.answer).toMatch(/^HTTP\/1\.1 200 /);
});

it('no audit row and no line of the log holds a token', () => dataPath.expectNoSecretKept());

/** An SVID of a workload, as its own sidecar gets one: not by way of Meshpass. */
async function meshSvid(namespace: string, serviceAccount: string): Promise<Svid> {
  const { lab } = dataPath;
  const token = await lab.kubernetes.serviceAccountToken(namespace, serviceAccount, ['istio-ca'], 600);
  const istiod = connectIstiod({
    address: lab.istiodAddress,
    serverName: 'istiod.istio-system.svc',
    roots: () => [lab.rootCaPem()],
  });
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const chain = await istiod.sign({ csr: createCsr(privateKey), ttl: 600, token });
  istiod.close();
  const spiffeId = `spiffe://cluster.local/ns/${namespace}/sa/${serviceAccount}`;
  return { privateKey: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(), chain: chain[0]!, spiffeId };
}

/** Certificate with the SPIFFE id of the live session, signed by an unknown CA. */
async function selfSigned(): Promise<Pick<Svid, 'privateKey' | 'chain'>> {
  const { spiffeId } = (await adversary.show()).svids[GRANT]!;
  const made = await dataPath.lab.exec('workspace', [
    ...['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '1'],
    ...['-subj', '/CN=me', '-addext', `subjectAltName=URI:${spiffeId}`, '-keyout', '-', '-out', '-'],
  ]);
  expect(made.code).toBe(0);
  const block = (name: string) => new RegExp(`-----BEGIN ${name}-----[^]+?-----END ${name}-----`).exec(made.stdout)![0];
  return { privateKey: block('PRIVATE KEY'), chain: block('CERTIFICATE') };
}
