import { once } from 'node:events';
import { connect as connectTcp, type Socket } from 'node:net';
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

describe('a live session', () => {
  test('reaches its granted target through the gateway, and both decisions are reported', async () => {
    const alice = await aliceOnline();
    const { inner } = await dataPath.tunnel(alice);
    expect(await say(inner, 'hello')).toBe('hello');
    expect(dataPath.edge.stats()).toMatchObject({ tunnels: 1, allowed: 1, connections: 1 });
    inner.end();
    await closed(inner);
    await vi.waitFor(() => expect(dataPath.decisions).toHaveLength(2));
    const target = 'orders.shop.svc.cluster.local:8080';
    expect(dataPath.decisions[0]).toMatchObject({
      outcome: 'allowed',
      session_id: 's-alice',
      spiffe_id: ALICE,
      target,
    });
    expect(dataPath.decisions[1]).toMatchObject({ outcome: 'ended', session_id: 's-alice', target });
    expect(dataPath.decisions[1]!.bytes_in).toBeGreaterThan(200);
    expect(dataPath.decisions[1]!.bytes_out).toBeGreaterThan(200);
    expect(dataPath.decisions[1]!.duration_ms).toBeGreaterThanOrEqual(0);
    expect(dataPath.edge.stats()).toMatchObject({ tunnels: 0, ended: 1, connections: 0 });
  });

  test('may send its CONNECT and its ClientHello byte by byte', async () => {
    const alice = await aliceOnline();
    const outer = await dataPath.outer(alice);
    const head = connectHead(ORDERS);
    for (const byte of head.slice(0, -1)) outer.write(byte);
    expect(await say(outer, head.slice(-1))).toBe('HTTP/1.1 200 OK\r\n\r\n');
    const hello = await captureHello('outbound_.8080_._.orders.shop.svc.cluster.local');
    for (const byte of hello) outer.write(Buffer.from([byte]));
    expect((await hear(outer)).charCodeAt(0)).toBe(22);
  });

  test('carries large data both ways without loss', async () => {
    const alice = await aliceOnline();
    const { inner } = await dataPath.tunnel(alice);
    const sent = Buffer.alloc(8 * 1024 * 1024, 'meshpass');
    let got = 0;
    let wrong = 0;
    inner.on('data', (chunk: Buffer) => {
      if (!chunk.equals(sent.subarray(got, got + chunk.length))) wrong++;
      got += chunk.length;
    });
    inner.end(sent);
    await once(inner, 'end');
    expect([got, wrong]).toEqual([sent.length, 0]);
  });

  test('that reads late gets its own bytes, and so does its neighbour', async () => {
    // All tunnels share one read buffer: what waits for one client must not be overwritten by what comes for another.
    const size = 16 * 1024 * 1024;
    const alice = await aliceOnline(
      {},
      {
        serve: (socket) =>
          socket.once('data', ([byte]) => {
            const piece = Buffer.alloc(16_384, byte);
            let left = size;
            const more = () => {
              socket.write(piece);
              left -= piece.length;
              if (left > 0) setImmediate(more);
              else socket.end();
            };
            more();
          }),
      },
    );
    const download = async (byte: number, lateMs: number): Promise<[number, number]> => {
      const { inner } = await dataPath.tunnel(alice);
      inner.write(Buffer.from([byte]));
      await new Promise((resolve) => setTimeout(resolve, lateMs));
      let got = 0;
      let wrong = 0;
      inner.on('data', (chunk: Buffer) => {
        got += chunk.length;
        if (!chunk.equals(Buffer.alloc(chunk.length, byte))) wrong++;
      });
      await once(inner, 'end');
      return [got, wrong];
    };
    const all = await Promise.all([download(1, 400), download(2, 0), download(3, 400)]);
    expect(all).toEqual(all.map(() => [size, 0]));
  });

  test('may end its half and still hear the answer', async () => {
    const heard: Buffer[] = [];
    const alice = await aliceOnline(
      {},
      {
        rawGateway: (socket) => {
          socket.on('data', (chunk: Buffer) => heard.push(chunk));
          socket.once('end', () => setTimeout(() => socket.end('after your end'), 50));
        },
      },
    );
    const outer = await dataPath.outer(alice);
    await say(outer, connectHead(ORDERS));
    outer.end(await captureHello('outbound_.8080_._.orders.shop.svc.cluster.local'));
    expect(await hear(outer)).toBe('after your end');
    await closed(outer);
    expect(Buffer.concat(heard)[0]).toBe(22);
  });

  test('is let go soon after the service has closed, even if the client never closes', async () => {
    const rawGateway = (socket: Socket) => socket.once('data', () => socket.end('bye')).resume();
    const alice = await aliceOnline({ halfClosedMs: 80 }, { rawGateway });
    const outer = await dataPath.outer(alice);
    await say(outer, connectHead(ORDERS));
    expect(await say(outer, await captureHello('outbound_.8080_._.orders.shop.svc.cluster.local'))).toBe('bye');
    dataPath.arrivals[0]!.destroy();
    await dataPath.empty();
    expect(dataPath.decisions.at(-1)).toMatchObject({ outcome: 'ended', code: 'tunnel_idle' });
  });

  test('keeps its open tunnel when the SVID that opened it expires', async () => {
    dataPath = await buildDataPath();
    dataPath.admit('s-alice', ALICE);
    const brief = await svid(dataPath.mesh, ALICE, { notAfter: Date.now() + 20_000 });
    const { inner } = await dataPath.tunnel(brief);
    dataPath.advance(25_000);
    dataPath.directory.apply({ type: 'beat', at: 0 });
    expect(await say(inner, 'still here')).toBe('still here');
  });
});

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

  test('with the same name from another CA that calls itself as the mesh does', async () => {
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

  test('with a certificate of the mesh that is no session', async () => {
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

  test('when the broker has been silent for too long', async () => {
    await aliceOnline();
    const longLived = await svid(dataPath.mesh, ALICE, { notAfter: Date.now() + 3_600_000 });
    dataPath.advance(601_000);
    await refused(longLived, 'tunnel_directory_stale', '503 Service Unavailable');
  });

  test('when it came before the broker had said anything, in words that do not blame its certificate', async () => {
    dataPath = await buildDataPath({}, { unheard: true });
    const alice = await svid(dataPath.mesh, ALICE);
    const early = connectTcp(dataPath.edge.address.port, '127.0.0.1');
    await vi.waitFor(() => expect(dataPath.edge.stats().connections).toBe(1));
    dataPath.directory.apply({ type: 'snapshot', sessions: [], roots: [dataPath.mesh.root] });
    dataPath.admit('s-alice', ALICE);
    const outer = connect({ socket: early, servername: 'edge.test', ca: dataPath.web.root, ...alice });
    expect(refusalOf(await hear(outer)).code).toBe('tunnel_directory_stale');
    await dataPath.tunnel(alice);
  });

  test('beyond what a session may have', async () => {
    const alice = await aliceOnline({ connectionsPerSession: 2 });
    await dataPath.outer(alice);
    await dataPath.outer(alice);
    const outer = await dataPath.outer(alice);
    expect(refusalOf(await hear(outer))).toMatchObject({
      code: 'tunnel_limit',
      status: 'HTTP/1.1 429 Too Many Requests',
    });
  });

  test('beyond what all sessions may have', async () => {
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
    await vi.waitFor(() => expect(dataPath.decisions.at(-1)).toMatchObject({ code: 'tunnel_request_malformed' }));
  });

  test('when it is not TLS at all', async () => {
    await aliceOnline();
    const plain = connectTcp(dataPath.edge.address.port, '127.0.0.1');
    plain.on('error', () => {});
    plain.write('GET / HTTP/1.1\r\n\r\n');
    await closed(plain);
    expect(dataPath.decisions.at(-1)).toMatchObject({ outcome: 'refused', code: 'tunnel_request_malformed' });
    await vi.waitFor(() => expect(dataPath.edge.stats().connections).toBe(0));
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

  test('with bytes that did not wait for the 200', async () => {
    await aliceOnline();
    await refused(`${connectHead(ORDERS)}\x16\x03\x01`, 'tunnel_request_malformed');
  });

  test('when the session closed, or the SVID expired, while the connection was warm', async () => {
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

  test('when the mesh gateway does not answer', async () => {
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

describe('an inner connection is refused with a TLS alert, and the gateway gets no byte', () => {
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

  test('when the server name is that of another target', async () => {
    await alerted(await captureHello('outbound_.5432_._.ledger-db.shop.svc.cluster.local'), 112);
  });

  test('when the server name differs in case only', async () => {
    await alerted(await captureHello('outbound_.8080_._.ORDERS.shop.svc.cluster.local'), 112);
  });

  test('when there is no server name', async () => {
    await alerted(await captureHello(undefined), 112);
  });

  test('when it is no ClientHello', async () => {
    await alerted(Buffer.from('GET /orders/1 HTTP/1.1\r\n\r\n'), 50);
  });

  test('as a real TLS client understands it', async () => {
    const alice = await aliceOnline();
    const outer = await dataPath.outer(alice);
    await say(outer, connectHead(ORDERS));
    const inner = connect({ socket: outer, servername: 'web.dev.svc.cluster.local', rejectUnauthorized: false });
    const [error] = (await once(inner, 'error')) as [NodeJS.ErrnoException];
    expect(error.code).toBe('ERR_SSL_TLSV1_UNRECOGNIZED_NAME');
  });
});

describe('a slow client is cut', () => {
  test('in the TLS handshake', async () => {
    await aliceOnline({ handshakeMs: 80 });
    const plain = connectTcp(dataPath.edge.address.port, '127.0.0.1');
    plain.on('error', () => {});
    await closed(plain);
    expect(dataPath.decisions.at(-1)).toMatchObject({ code: 'tunnel_handshake_timeout' });
  });

  test('in the request head, however it trickles', async () => {
    const alice = await aliceOnline({ headMs: 120 });
    const outer = await dataPath.outer(alice);
    const trickle = setInterval(() => outer.write('s'), 20);
    outer.write('CONNECT order');
    const answer = await hear(outer);
    clearInterval(trickle);
    expect(answer).toMatch(/tunnel_handshake_timeout/);
    await dataPath.empty();
  });

  test('in the inner ClientHello', async () => {
    const alice = await aliceOnline({ helloMs: 80 });
    const outer = await dataPath.outer(alice);
    await say(outer, connectHead(ORDERS));
    outer.write(Buffer.from([22, 3, 1]));
    await closed(outer);
    expect(dataPath.decisions.at(-1)).toMatchObject({ code: 'tunnel_handshake_timeout' });
    await vi.waitFor(() => expect(dataPath.arrivals.every((socket) => socket.destroyed)).toBe(true));
  });

  test('when it waits too long before its CONNECT, and no sooner', async () => {
    const alice = await aliceOnline({ warmMs: 150 });
    const outer = await dataPath.outer(alice);
    const at = Date.now();
    await closed(outer);
    expect(Date.now() - at).toBeGreaterThanOrEqual(140);
  });

  test('when a tunnel moves no byte; one that does lives on', async () => {
    const alice = await aliceOnline({ idleMs: 300 });
    const idle = await dataPath.tunnel(alice);
    const busy = await dataPath.tunnel(alice);
    const chat = setInterval(() => busy.inner.write('x'), 50);
    await closed(idle.outer);
    expect(busy.outer.destroyed).toBe(false);
    clearInterval(chat);
    expect(dataPath.decisions.find((decision) => decision.outcome === 'ended')).toMatchObject({ code: 'tunnel_idle' });
  });

  test('when it does not read its refusal', async () => {
    await aliceOnline({ lingerMs: 80 });
    const outer = await dataPath.outer(undefined);
    await hear(outer);
    expect(dataPath.edge.stats().connections).toBe(1);
    await dataPath.empty();
  });
});

describe('at once, a tunnel ends', () => {
  test('when its session closes, on both sides', async () => {
    const alice = await aliceOnline();
    const tunnels = await Promise.all(Array.from({ length: 10 }, () => dataPath.tunnel(alice)));
    const warm = await dataPath.outer(alice);
    const ends = [...tunnels.map((tunnel) => tunnel.outer), warm].map(closed);
    const start = performance.now();
    dataPath.directory.apply({ type: 'close', id: 's-alice', reason: 'the Codespace has stopped' });
    expect(dataPath.edge.stats()).toMatchObject({ connections: 0, tunnels: 0 });
    await Promise.all(ends);
    await vi.waitFor(() => expect(dataPath.arrivals.every((socket) => socket.destroyed)).toBe(true));
    const took = performance.now() - start;
    console.info(`10 tunnels and a warm connection cut in ${took.toFixed(1)} ms`);
    expect(dataPath.decisions.filter((decision) => decision.outcome === 'ended')).toHaveLength(10);
    expect(dataPath.decisions.at(-1)).toMatchObject({ code: 'session_closed' });
    expect(dataPath.decisions.at(-1)!.reason).toContain('the Codespace has stopped');
  });

  test('when its target is taken away, while others of the session stay', async () => {
    dataPath = await buildDataPath();
    dataPath.admit('s-alice', ALICE, [ORDERS, LEDGER]);
    const alice = await svid(dataPath.mesh, ALICE);
    const kept = await dataPath.tunnel(alice, ORDERS);
    const lost = await dataPath.tunnel(alice, LEDGER);
    dataPath.admit('s-alice', ALICE, [ORDERS]);
    await closed(lost.inner);
    expect(await say(kept.inner, 'hello')).toBe('hello');
    expect(dataPath.decisions.at(-1)).toMatchObject({ outcome: 'ended', code: 'tunnel_target_not_granted' });
  });

  test('when its session expires by the clock', async () => {
    dataPath = await buildDataPath();
    dataPath.admit('s-alice', ALICE, [ORDERS], Math.floor(Date.now() / 1000) + 20);
    const { inner } = await dataPath.tunnel(await svid(dataPath.mesh, ALICE));
    dataPath.advance(21_000);
    dataPath.directory.sweep();
    await closed(inner);
    expect(dataPath.decisions.at(-1)).toMatchObject({ outcome: 'ended', code: 'session_closed' });
  });

  test('when the broker has been silent for too long', async () => {
    const alice = await aliceOnline();
    const { inner } = await dataPath.tunnel(alice);
    dataPath.advance(500_000);
    dataPath.directory.sweep();
    expect(await say(inner, 'as last heard')).toBe('as last heard');
    expect(await say((await dataPath.tunnel(alice)).inner, 'a new one too')).toBe('a new one too');
    dataPath.advance(101_000);
    dataPath.directory.sweep();
    await closed(inner);
  });

  test('even when its client reads nothing and much is on the way', async () => {
    const alice = await aliceOnline({}, { serve: flood });
    const { outer, inner } = await dataPath.tunnel(alice);
    inner.pause();
    outer.pause();
    await settled(() => dataPath.arrivals[0]!.bytesWritten);
    dataPath.directory.apply({ type: 'close', id: 's-alice', reason: 'admin' });
    expect(dataPath.edge.stats().connections).toBe(0);
    await vi.waitFor(() => expect(dataPath.arrivals[0]!.destroyed).toBe(true));
  });
});

test('a client that does not read stops the gateway from sending, and the edge holds little', async () => {
  const alice = await aliceOnline({}, { serve: flood });
  const { outer, inner } = await dataPath.tunnel(alice);
  inner.pause();
  outer.pause();
  const passed = await settled(() => dataPath.edge.stats().bytesOut);
  // What the kernel buffers hold, and the high-water mark: not what the service could have sent.
  expect(passed).toBeLessThan(32 * 1024 * 1024);
  inner.resume();
  await vi.waitFor(() => expect(dataPath.edge.stats().bytesOut).toBeGreaterThan(passed + 64 * 1024 * 1024), {
    timeout: 20_000,
  });
}, 30_000);

test('a gateway that does not read stops the client from sending', async () => {
  const alice = await aliceOnline({}, { rawGateway: (socket) => socket.pause() });
  const outer = await dataPath.outer(alice);
  await say(outer, connectHead(ORDERS));
  outer.write(await captureHello('outbound_.8080_._.orders.shop.svc.cluster.local'));
  const block = Buffer.alloc(65_536);
  let sent = 0;
  const pump = () => {
    do sent += block.length;
    while (outer.write(block) && sent < 1e9);
  };
  outer.on('drain', pump);
  pump();
  const taken = await settled(() => sent);
  expect(taken).toBeLessThan(64 * 1024 * 1024);
}, 30_000);

function flood(socket: Socket): void {
  const block = Buffer.alloc(65_536);
  const pump = () => {
    while (!socket.destroyed && socket.write(block));
  };
  socket.on('drain', pump);
  socket.once('close', () => socket.off('drain', pump));
  pump();
}

/** The value once it has stopped growing. */
async function settled(value: () => number): Promise<number> {
  for (let before = -1; ; ) {
    await new Promise((resolve) => setTimeout(resolve, 150));
    const now = value();
    if (now === before && now > 0) return now;
    before = now;
  }
}

/** What a real TLS client sends first. */

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
