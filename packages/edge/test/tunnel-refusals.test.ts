/**
 * Refusals of the edge: connections without the SVID of a live session, targets, and inner connections with another
 * name.
 */
import { once } from 'node:events';
import { connect as connectTcp } from 'node:net';
import { connect } from 'node:tls';
import { afterEach, describe, expect, test, vi } from 'vitest';
import {
  ALICE,
  BOB,
  buildDataPath,
  captureHello,
  closed,
  connectHead,
  type DataPath,
  hear,
  LEDGER,
  ORDERS,
  refusalOf,
  STRANGER,
  say,
} from './data-path.ts';
import { createCa, svid } from './mesh-ca.ts';

let dataPath: DataPath;
afterEach(() => dataPath.close());

async function aliceOnline(...args: Parameters<typeof buildDataPath>) {
  dataPath = await buildDataPath(...args);
  dataPath.admit('s-alice', ALICE);
  return svid(dataPath.mesh, ALICE);
}

describe('an outer connection is refused', () => {
  async function refused(credential: Parameters<DataPath['outer']>[0], code: string, status: string) {
    const outer = await dataPath.outer(credential);
    const refusal = refusalOf(await hear(outer));
    expect([refusal.code, refusal.status]).toEqual([code, `HTTP/1.1 ${status}`]);
    expect(dataPath.decisions.at(-1)).toMatchObject({ outcome: 'refused', code, id: refusal.decision });
    expect(dataPath.arrivals).toHaveLength(0);
    outer.end();
    await dataPath.empty();
  }

  test('without a certificate', async () => {
    await aliceOnline();
    await refused(undefined, 'tunnel_certificate_missing', '401 Unauthorized');
  });

  test('with the same name from another CA', async () => {
    await aliceOnline();
    await refused(await svid(await createCa('other'), ALICE), 'tunnel_certificate_untrusted', '401 Unauthorized');
  });

  test("with the same name from another CA with the name of the mesh's CA", async () => {
    await aliceOnline();
    await refused(await svid(await createCa('mesh'), ALICE), 'tunnel_certificate_untrusted', '401 Unauthorized');
  });

  test('with an expired SVID, and one that is not yet valid', async () => {
    await aliceOnline();
    const now = Date.now();
    const old = await svid(dataPath.mesh, ALICE, { notBefore: now - 900_000, notAfter: now - 5_000 });
    const early = await svid(dataPath.mesh, ALICE, { notBefore: now + 60_000 });
    await refused(old, 'tunnel_certificate_untrusted', '401 Unauthorized');
    await refused(early, 'tunnel_certificate_untrusted', '401 Unauthorized');
  });

  test('with two SPIFFE ids, with none, or with a CA certificate', async () => {
    await aliceOnline();
    const url = (value: string) => ({ type: 'url', value }) as const;
    const two = await dataPath.mesh.issue({ san: [url(ALICE), url(BOB)] });
    const none = await dataPath.mesh.issue({ san: [{ type: 'dns', value: 'orders.shop' }] });
    const ca = await dataPath.mesh.issue({ san: [url(ALICE)], ca: true });
    for (const bad of [two, none, ca]) await refused(bad, 'tunnel_certificate_untrusted', '401 Unauthorized');
  });

  test('with a certificate of the mesh that belongs to no session', async () => {
    await aliceOnline();
    await refused(await svid(dataPath.mesh, STRANGER), 'tunnel_session_unknown', '403 Forbidden');
  });

  test('with the certificate of a closed session', async () => {
    const alice = await aliceOnline();
    dataPath.directory.apply({ type: 'close', id: 's-alice', reason: 'goodbye' });
    await refused(alice, 'tunnel_session_unknown', '403 Forbidden');
  });

  test('with the certificate of an expired session', async () => {
    const alice = await aliceOnline();
    dataPath.admit('s-alice', ALICE, [ORDERS], Math.floor(Date.now() / 1000) - 1);
    await refused(alice, 'tunnel_session_unknown', '403 Forbidden');
  });

  test('if the broker has been silent for too long', async () => {
    await aliceOnline();
    const longLived = await svid(dataPath.mesh, ALICE, { notAfter: Date.now() + 3_600_000 });
    dataPath.advance(601_000);
    await refused(longLived, 'tunnel_directory_stale', '503 Service Unavailable');
  });

  test('if it precedes the first snapshot, with a message that does not blame its certificate', async () => {
    dataPath = await buildDataPath({}, { unheard: true });
    const alice = await svid(dataPath.mesh, ALICE);
    const early = connectTcp(dataPath.edge.address.port, '127.0.0.1');
    await vi.waitFor(() => expect(dataPath.edge.stats().connections).toBe(1), { timeout: 60_000 });
    dataPath.directory.apply({ type: 'snapshot', sessions: [], roots: [dataPath.mesh.root] });
    dataPath.admit('s-alice', ALICE);
    const outer = connect({ socket: early, servername: 'edge.test', ca: dataPath.web.root, ...alice });
    expect(refusalOf(await hear(outer)).code).toBe('tunnel_directory_stale');
    await dataPath.tunnel(alice);
  });

  test('beyond the limit of its session', async () => {
    const alice = await aliceOnline({ connectionsPerSession: 2 });
    await dataPath.outer(alice);
    await dataPath.outer(alice);
    const outer = await dataPath.outer(alice);
    expect(refusalOf(await hear(outer))).toMatchObject({
      code: 'tunnel_limit',
      status: 'HTTP/1.1 429 Too Many Requests',
    });
  });

  test('beyond the limit of all sessions', async () => {
    const alice = await aliceOnline({ connections: 1 });
    await dataPath.outer(alice);
    expect(refusalOf(await hear(await dataPath.outer(alice)))).toMatchObject({ code: 'tunnel_limit' });
  });

  test('with TLS 1.2', async () => {
    const alice = await aliceOnline();
    const old = connect({
      port: dataPath.edge.address.port,
      host: '127.0.0.1',
      maxVersion: 'TLSv1.2',
      ca: dataPath.web.root,
      ...alice,
    });
    const [error] = (await once(old, 'error')) as [NodeJS.ErrnoException];
    expect(error.code).toMatch(/PROTOCOL_VERSION/);
    await vi.waitFor(() => expect(dataPath.decisions.at(-1)).toMatchObject({ code: 'tunnel_request_malformed' }), {
      timeout: 60_000,
    });
  });

  test('if it is not TLS', async () => {
    await aliceOnline();
    const plain = connectTcp(dataPath.edge.address.port, '127.0.0.1');
    plain.on('error', () => {});
    plain.write('GET / HTTP/1.1\r\n\r\n');
    await closed(plain);
    expect(dataPath.decisions.at(-1)).toMatchObject({ outcome: 'refused', code: 'tunnel_request_malformed' });
    await vi.waitFor(() => expect(dataPath.edge.stats().connections).toBe(0), { timeout: 60_000 });
  });
});

describe('a CONNECT is refused', () => {
  async function refused(request: string | Buffer, code: string, options: { reaches?: number } = {}) {
    const outer = await dataPath.outer(await svid(dataPath.mesh, ALICE));
    const refusal = refusalOf(await say(outer, request));
    expect(refusal.code).toBe(code);
    expect(dataPath.decisions.at(-1)).toMatchObject({ code, session_id: 's-alice', id: refusal.decision });
    expect(dataPath.arrivals.length).toBe(options.reaches ?? 0);
    outer.end();
    await dataPath.empty();
  }

  test('for a host or a port that is not granted', async () => {
    await aliceOnline();
    dataPath.admit('s-bob', BOB, [LEDGER]);
    await refused(connectHead(LEDGER), 'tunnel_target_not_granted');
    await refused(connectHead({ ...ORDERS, port: 9090 }), 'tunnel_target_not_granted');
    await refused(connectHead({ host: 'localhost', port: 15012 }), 'tunnel_target_not_granted');
    await refused(connectHead({ host: '127.0.0.1', port: 8080 }), 'tunnel_target_not_granted');
  });

  test('with anything but CONNECT, a head too large, or garbage', async () => {
    await aliceOnline();
    await refused('GET / HTTP/1.1\r\n\r\n', 'tunnel_request_malformed');
    await refused(Buffer.from([0, 1, 2, 3]), 'tunnel_request_malformed');
    const long = connectHead(ORDERS).replace('\r\n\r\n', `\r\nX: ${'a'.repeat(5000)}\r\n\r\n`);
    await refused(long, 'tunnel_request_malformed');
    await refused(`CONNECT ${'a'.repeat(5000)}`, 'tunnel_request_malformed');
  });

  test('if the session closed, or the SVID expired, while the connection was warm', async () => {
    dataPath = await buildDataPath();
    dataPath.admit('s-alice', ALICE);
    const outer = await dataPath.outer(await svid(dataPath.mesh, ALICE, { notAfter: Date.now() + 20_000 }));
    dataPath.advance(21_000);
    expect(refusalOf(await say(outer, connectHead(ORDERS))).code).toBe('tunnel_certificate_untrusted');
    dataPath.directory.apply({ type: 'beat', at: 0 });
    const warm = await dataPath.outer(await svid(dataPath.mesh, ALICE));
    dataPath.directory.apply({ type: 'close', id: 's-alice', reason: 'admin' });
    await closed(warm);
  });

  test('if the mesh gateway does not answer', async () => {
    const alice = await aliceOnline();
    const gone = await buildDataPath();
    await gone.close();
    const { startEdge } = await import('../src/index.ts');
    const port = await freePort();
    const edge = await startEdge({
      listen: { host: '127.0.0.1', port: 0 },
      tls: await dataPath.web.issue({ san: [{ type: 'dns', value: 'edge.test' }] }),
      gateway: { host: '127.0.0.1', port },
      directory: dataPath.directory,
      report: (decision) => dataPath.decisions.push(decision),
    });
    const outer = connect({
      port: edge.address.port,
      host: '127.0.0.1',
      servername: 'edge.test',
      ca: dataPath.web.root,
      ...alice,
    });
    await once(outer, 'secureConnect');
    expect(refusalOf(await say(outer, connectHead(ORDERS)))).toMatchObject({
      code: 'tunnel_gateway_unreachable',
      status: 'HTTP/1.1 502 Bad Gateway',
    });
    await edge.close();
  });
});

describe('an inner connection is refused with a TLS alert, and the gateway receives no byte', () => {
  async function alerted(bytes: Buffer, description: number) {
    const alice = await aliceOnline();
    const outer = await dataPath.outer(alice);
    await say(outer, connectHead(ORDERS));
    const answer = Buffer.from(await say(outer, bytes), 'latin1');
    expect([...answer]).toEqual([21, 3, 3, 0, 2, 2, description]);
    expect(dataPath.decisions.at(-1)).toMatchObject({
      outcome: 'refused',
      code: 'tunnel_sni_mismatch',
      session_id: 's-alice',
    });
    expect(dataPath.arrivals.map((socket) => socket.bytesRead)).toEqual([0]);
    outer.end();
    await dataPath.empty();
  }

  test('if the server name is that of another target', async () => {
    await alerted(await captureHello('outbound_.5432_._.ledger-db.shop.svc.cluster.local'), 112);
  });

  test('if the server name differs only in case', async () => {
    await alerted(await captureHello('outbound_.8080_._.ORDERS.shop.svc.cluster.local'), 112);
  });

  test('if the server name is missing', async () => {
    await alerted(await captureHello(undefined), 112);
  });

  test('if it does not begin with a ClientHello', async () => {
    await alerted(Buffer.from('GET /orders/1 HTTP/1.1\r\n\r\n'), 50);
  });

  test('in a way that a real TLS client understands', async () => {
    const alice = await aliceOnline();
    const outer = await dataPath.outer(alice);
    await say(outer, connectHead(ORDERS));
    const inner = connect({ socket: outer, servername: 'web.dev.svc.cluster.local', rejectUnauthorized: false });
    const [error] = (await once(inner, 'error')) as [NodeJS.ErrnoException];
    expect(error.code).toBe('ERR_SSL_TLSV1_UNRECOGNIZED_NAME');
  });
});

async function freePort(): Promise<number> {
  const { createServer } = await import('node:net');
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}
