import { once } from 'node:events';
import { connect as connectTcp, type Socket } from 'node:net';
import { connect } from 'node:tls';
import { afterEach, describe, expect, test, vi } from 'vitest';
import {
  ALICE,
  BOB,
  buildRoad,
  captureHello,
  closed,
  connectHead,
  hear,
  LEDGER,
  ORDERS,
  type Road,
  refusalOf,
  STRANGER,
  say,
} from './data-path.ts';
import { createCa, svid } from './mesh-ca.ts';

let road: Road;
afterEach(() => road.close());

async function aliceOnTheRoad(...args: Parameters<typeof buildRoad>) {
  road = await buildRoad(...args);
  road.admit('s-alice', ALICE);
  return svid(road.mesh, ALICE);
}

describe('a live session', () => {
  test('reaches its granted target through the gateway, and both decisions are reported', async () => {
    const alice = await aliceOnTheRoad();
    const { inner } = await road.tunnel(alice);
    expect(await say(inner, 'hello')).toBe('hello');
    expect(road.edge.stats()).toMatchObject({ tunnels: 1, allowed: 1, connections: 1 });
    inner.end();
    await closed(inner);
    await vi.waitFor(() => expect(road.decisions).toHaveLength(2));
    const target = 'orders.shop.svc.cluster.local:8080';
    expect(road.decisions[0]).toMatchObject({ outcome: 'allowed', session_id: 's-alice', spiffe_id: ALICE, target });
    expect(road.decisions[1]).toMatchObject({ outcome: 'ended', session_id: 's-alice', target });
    expect(road.decisions[1]!.bytes_in).toBeGreaterThan(200);
    expect(road.decisions[1]!.bytes_out).toBeGreaterThan(200);
    expect(road.decisions[1]!.duration_ms).toBeGreaterThanOrEqual(0);
    expect(road.edge.stats()).toMatchObject({ tunnels: 0, ended: 1, connections: 0 });
  });

  test('may send its CONNECT and its ClientHello byte by byte', async () => {
    const alice = await aliceOnTheRoad();
    const outer = await road.outer(alice);
    const head = connectHead(ORDERS);
    for (const byte of head.slice(0, -1)) outer.write(byte);
    expect(await say(outer, head.slice(-1))).toBe('HTTP/1.1 200 OK\r\n\r\n');
    const hello = await captureHello('outbound_.8080_._.orders.shop.svc.cluster.local');
    for (const byte of hello) outer.write(Buffer.from([byte]));
    expect((await hear(outer)).charCodeAt(0)).toBe(22);
  });

  test('carries large data both ways without loss', async () => {
    const alice = await aliceOnTheRoad();
    const { inner } = await road.tunnel(alice);
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
    const alice = await aliceOnTheRoad(
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
      const { inner } = await road.tunnel(alice);
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
    const alice = await aliceOnTheRoad(
      {},
      {
        rawGateway: (socket) => {
          socket.on('data', (chunk: Buffer) => heard.push(chunk));
          socket.once('end', () => setTimeout(() => socket.end('after your end'), 50));
        },
      },
    );
    const outer = await road.outer(alice);
    await say(outer, connectHead(ORDERS));
    outer.end(await captureHello('outbound_.8080_._.orders.shop.svc.cluster.local'));
    expect(await hear(outer)).toBe('after your end');
    await closed(outer);
    expect(Buffer.concat(heard)[0]).toBe(22);
  });

  test('is let go soon after the service has closed, even if the client never closes', async () => {
    const rawGateway = (socket: Socket) => socket.once('data', () => socket.end('bye')).resume();
    const alice = await aliceOnTheRoad({ halfClosedMs: 80 }, { rawGateway });
    const outer = await road.outer(alice);
    await say(outer, connectHead(ORDERS));
    expect(await say(outer, await captureHello('outbound_.8080_._.orders.shop.svc.cluster.local'))).toBe('bye');
    road.arrivals[0]!.destroy();
    await road.empty();
    expect(road.decisions.at(-1)).toMatchObject({ outcome: 'ended', code: 'tunnel_idle' });
  });

  test('keeps its open tunnel when the SVID that opened it expires', async () => {
    road = await buildRoad();
    road.admit('s-alice', ALICE);
    const brief = await svid(road.mesh, ALICE, { notAfter: Date.now() + 20_000 });
    const { inner } = await road.tunnel(brief);
    road.advance(25_000);
    road.directory.apply({ type: 'beat', at: 0 });
    expect(await say(inner, 'still here')).toBe('still here');
  });
});

describe('an outer connection is refused', () => {
  async function refused(credential: Parameters<Road['outer']>[0], code: string, status: string) {
    const outer = await road.outer(credential);
    const refusal = refusalOf(await hear(outer));
    expect([refusal.code, refusal.status]).toEqual([code, `HTTP/1.1 ${status}`]);
    expect(road.decisions.at(-1)).toMatchObject({ outcome: 'refused', code, id: refusal.decision });
    expect(road.arrivals).toHaveLength(0);
    outer.end();
    await road.empty();
  }

  test('without a certificate', async () => {
    await aliceOnTheRoad();
    await refused(undefined, 'tunnel_certificate_missing', '401 Unauthorized');
  });

  test('with the same name from another CA', async () => {
    await aliceOnTheRoad();
    await refused(await svid(await createCa('other'), ALICE), 'tunnel_certificate_untrusted', '401 Unauthorized');
  });

  test('with the same name from another CA that calls itself as the mesh does', async () => {
    await aliceOnTheRoad();
    await refused(await svid(await createCa('mesh'), ALICE), 'tunnel_certificate_untrusted', '401 Unauthorized');
  });

  test('with an expired SVID, and one that is not yet valid', async () => {
    await aliceOnTheRoad();
    const now = Date.now();
    const old = await svid(road.mesh, ALICE, { notBefore: now - 900_000, notAfter: now - 5_000 });
    const early = await svid(road.mesh, ALICE, { notBefore: now + 60_000 });
    await refused(old, 'tunnel_certificate_untrusted', '401 Unauthorized');
    await refused(early, 'tunnel_certificate_untrusted', '401 Unauthorized');
  });

  test('with two SPIFFE ids, with none, or with a CA certificate', async () => {
    await aliceOnTheRoad();
    const url = (value: string) => ({ type: 'url', value }) as const;
    const two = await road.mesh.issue({ san: [url(ALICE), url(BOB)] });
    const none = await road.mesh.issue({ san: [{ type: 'dns', value: 'orders.shop' }] });
    const ca = await road.mesh.issue({ san: [url(ALICE)], ca: true });
    for (const bad of [two, none, ca]) await refused(bad, 'tunnel_certificate_untrusted', '401 Unauthorized');
  });

  test('with a certificate of the mesh that is no session', async () => {
    await aliceOnTheRoad();
    await refused(await svid(road.mesh, STRANGER), 'tunnel_session_unknown', '403 Forbidden');
  });

  test('with the certificate of a closed session', async () => {
    const alice = await aliceOnTheRoad();
    road.directory.apply({ type: 'close', id: 's-alice', reason: 'goodbye' });
    await refused(alice, 'tunnel_session_unknown', '403 Forbidden');
  });

  test('with the certificate of an expired session', async () => {
    const alice = await aliceOnTheRoad();
    road.admit('s-alice', ALICE, [ORDERS], Math.floor(Date.now() / 1000) - 1);
    await refused(alice, 'tunnel_session_unknown', '403 Forbidden');
  });

  test('when the broker has been silent for too long', async () => {
    await aliceOnTheRoad();
    const longLived = await svid(road.mesh, ALICE, { notAfter: Date.now() + 3_600_000 });
    road.advance(601_000);
    await refused(longLived, 'tunnel_directory_stale', '503 Service Unavailable');
  });

  test('when it came before the broker had said anything, in words that do not blame its certificate', async () => {
    road = await buildRoad({}, { unheard: true });
    const alice = await svid(road.mesh, ALICE);
    const early = connectTcp(road.edge.address.port, '127.0.0.1');
    await vi.waitFor(() => expect(road.edge.stats().connections).toBe(1));
    road.directory.apply({ type: 'snapshot', sessions: [], roots: [road.mesh.root] });
    road.admit('s-alice', ALICE);
    const outer = connect({ socket: early, servername: 'edge.test', ca: road.web.root, ...alice });
    expect(refusalOf(await hear(outer)).code).toBe('tunnel_directory_stale');
    await road.tunnel(alice);
  });

  test('beyond what a session may have', async () => {
    const alice = await aliceOnTheRoad({ connectionsPerSession: 2 });
    await road.outer(alice);
    await road.outer(alice);
    const outer = await road.outer(alice);
    expect(refusalOf(await hear(outer))).toMatchObject({
      code: 'tunnel_limit',
      status: 'HTTP/1.1 429 Too Many Requests',
    });
  });

  test('beyond what all sessions may have', async () => {
    const alice = await aliceOnTheRoad({ connections: 1 });
    await road.outer(alice);
    expect(refusalOf(await hear(await road.outer(alice)))).toMatchObject({ code: 'tunnel_limit' });
  });

  test('with TLS 1.2', async () => {
    const alice = await aliceOnTheRoad();
    const old = connect({
      port: road.edge.address.port,
      host: '127.0.0.1',
      maxVersion: 'TLSv1.2',
      ca: road.web.root,
      ...alice,
    });
    const [error] = (await once(old, 'error')) as [NodeJS.ErrnoException];
    expect(error.code).toMatch(/PROTOCOL_VERSION/);
    await vi.waitFor(() => expect(road.decisions.at(-1)).toMatchObject({ code: 'tunnel_request_malformed' }));
  });

  test('when it is not TLS at all', async () => {
    await aliceOnTheRoad();
    const plain = connectTcp(road.edge.address.port, '127.0.0.1');
    plain.on('error', () => {});
    plain.write('GET / HTTP/1.1\r\n\r\n');
    await closed(plain);
    expect(road.decisions.at(-1)).toMatchObject({ outcome: 'refused', code: 'tunnel_request_malformed' });
    await vi.waitFor(() => expect(road.edge.stats().connections).toBe(0));
  });
});

describe('a CONNECT is refused', () => {
  async function refused(request: string | Buffer, code: string, options: { reaches?: number } = {}) {
    const outer = await road.outer(await svid(road.mesh, ALICE));
    const refusal = refusalOf(await say(outer, request));
    expect(refusal.code).toBe(code);
    expect(road.decisions.at(-1)).toMatchObject({ code, session_id: 's-alice', id: refusal.decision });
    expect(road.arrivals.length).toBe(options.reaches ?? 0);
    outer.end();
    await road.empty();
  }

  test('for a host or a port that is not granted', async () => {
    await aliceOnTheRoad();
    road.admit('s-bob', BOB, [LEDGER]);
    await refused(connectHead(LEDGER), 'tunnel_target_not_granted');
    await refused(connectHead({ ...ORDERS, port: 9090 }), 'tunnel_target_not_granted');
    await refused(connectHead({ host: 'localhost', port: 15012 }), 'tunnel_target_not_granted');
    await refused(connectHead({ host: '127.0.0.1', port: 8080 }), 'tunnel_target_not_granted');
  });

  test('with anything but CONNECT, a head too large, or garbage', async () => {
    await aliceOnTheRoad();
    await refused('GET / HTTP/1.1\r\n\r\n', 'tunnel_request_malformed');
    await refused(Buffer.from([0, 1, 2, 3]), 'tunnel_request_malformed');
    const long = connectHead(ORDERS).replace('\r\n\r\n', `\r\nX: ${'a'.repeat(5000)}\r\n\r\n`);
    await refused(long, 'tunnel_request_malformed');
    await refused(`CONNECT ${'a'.repeat(5000)}`, 'tunnel_request_malformed');
  });

  test('with bytes that did not wait for the 200', async () => {
    await aliceOnTheRoad();
    await refused(`${connectHead(ORDERS)}\x16\x03\x01`, 'tunnel_request_malformed');
  });

  test('when the session closed, or the SVID expired, while the connection was warm', async () => {
    road = await buildRoad();
    road.admit('s-alice', ALICE);
    const outer = await road.outer(await svid(road.mesh, ALICE, { notAfter: Date.now() + 20_000 }));
    road.advance(21_000);
    expect(refusalOf(await say(outer, connectHead(ORDERS))).code).toBe('tunnel_certificate_untrusted');
    road.directory.apply({ type: 'beat', at: 0 });
    const warm = await road.outer(await svid(road.mesh, ALICE));
    road.directory.apply({ type: 'close', id: 's-alice', reason: 'admin' });
    await closed(warm);
  });

  test('when the mesh gateway does not answer', async () => {
    const alice = await aliceOnTheRoad();
    const gone = await buildRoad();
    await gone.close();
    const { startEdge } = await import('../src/index.ts');
    const port = await freePort();
    const edge = await startEdge({
      listen: { host: '127.0.0.1', port: 0 },
      tls: await road.web.issue({ san: [{ type: 'dns', value: 'edge.test' }] }),
      gateway: { host: '127.0.0.1', port },
      directory: road.directory,
      report: (decision) => road.decisions.push(decision),
    });
    const outer = connect({
      port: edge.address.port,
      host: '127.0.0.1',
      servername: 'edge.test',
      ca: road.web.root,
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
    const alice = await aliceOnTheRoad();
    const outer = await road.outer(alice);
    await say(outer, connectHead(ORDERS));
    const answer = Buffer.from(await say(outer, bytes), 'latin1');
    expect([...answer]).toEqual([21, 3, 3, 0, 2, 2, description]);
    expect(road.decisions.at(-1)).toMatchObject({
      outcome: 'refused',
      code: 'tunnel_sni_mismatch',
      session_id: 's-alice',
    });
    expect(road.arrivals.map((socket) => socket.bytesRead)).toEqual([0]);
    outer.end();
    await road.empty();
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
    const alice = await aliceOnTheRoad();
    const outer = await road.outer(alice);
    await say(outer, connectHead(ORDERS));
    const inner = connect({ socket: outer, servername: 'web.dev.svc.cluster.local', rejectUnauthorized: false });
    const [error] = (await once(inner, 'error')) as [NodeJS.ErrnoException];
    expect(error.code).toBe('ERR_SSL_TLSV1_UNRECOGNIZED_NAME');
  });
});

describe('a slow client is cut', () => {
  test('in the TLS handshake', async () => {
    await aliceOnTheRoad({ handshakeMs: 80 });
    const plain = connectTcp(road.edge.address.port, '127.0.0.1');
    plain.on('error', () => {});
    await closed(plain);
    expect(road.decisions.at(-1)).toMatchObject({ code: 'tunnel_handshake_timeout' });
  });

  test('in the request head, however it trickles', async () => {
    const alice = await aliceOnTheRoad({ headMs: 120 });
    const outer = await road.outer(alice);
    const trickle = setInterval(() => outer.write('s'), 20);
    outer.write('CONNECT order');
    const answer = await hear(outer);
    clearInterval(trickle);
    expect(answer).toMatch(/tunnel_handshake_timeout/);
    await road.empty();
  });

  test('in the inner ClientHello', async () => {
    const alice = await aliceOnTheRoad({ helloMs: 80 });
    const outer = await road.outer(alice);
    await say(outer, connectHead(ORDERS));
    outer.write(Buffer.from([22, 3, 1]));
    await closed(outer);
    expect(road.decisions.at(-1)).toMatchObject({ code: 'tunnel_handshake_timeout' });
    await vi.waitFor(() => expect(road.arrivals.every((socket) => socket.destroyed)).toBe(true));
  });

  test('when it waits too long before its CONNECT, and no sooner', async () => {
    const alice = await aliceOnTheRoad({ warmMs: 150 });
    const outer = await road.outer(alice);
    const at = Date.now();
    await closed(outer);
    expect(Date.now() - at).toBeGreaterThanOrEqual(140);
  });

  test('when a tunnel moves no byte; one that does lives on', async () => {
    const alice = await aliceOnTheRoad({ idleMs: 300 });
    const idle = await road.tunnel(alice);
    const busy = await road.tunnel(alice);
    const chat = setInterval(() => busy.inner.write('x'), 50);
    await closed(idle.outer);
    expect(busy.outer.destroyed).toBe(false);
    clearInterval(chat);
    expect(road.decisions.find((decision) => decision.outcome === 'ended')).toMatchObject({ code: 'tunnel_idle' });
  });

  test('when it does not read its refusal', async () => {
    await aliceOnTheRoad({ lingerMs: 80 });
    const outer = await road.outer(undefined);
    await hear(outer);
    expect(road.edge.stats().connections).toBe(1);
    await road.empty();
  });
});

describe('at once, a tunnel ends', () => {
  test('when its session closes, on both sides', async () => {
    const alice = await aliceOnTheRoad();
    const tunnels = await Promise.all(Array.from({ length: 10 }, () => road.tunnel(alice)));
    const warm = await road.outer(alice);
    const ends = [...tunnels.map((tunnel) => tunnel.outer), warm].map(closed);
    const start = performance.now();
    road.directory.apply({ type: 'close', id: 's-alice', reason: 'the Codespace has stopped' });
    expect(road.edge.stats()).toMatchObject({ connections: 0, tunnels: 0 });
    await Promise.all(ends);
    await vi.waitFor(() => expect(road.arrivals.every((socket) => socket.destroyed)).toBe(true));
    const took = performance.now() - start;
    console.info(`10 tunnels and a warm connection cut in ${took.toFixed(1)} ms`);
    expect(road.decisions.filter((decision) => decision.outcome === 'ended')).toHaveLength(10);
    expect(road.decisions.at(-1)).toMatchObject({ code: 'session_closed' });
    expect(road.decisions.at(-1)!.reason).toContain('the Codespace has stopped');
  });

  test('when its target is taken away, while others of the session stay', async () => {
    road = await buildRoad();
    road.admit('s-alice', ALICE, [ORDERS, LEDGER]);
    const alice = await svid(road.mesh, ALICE);
    const kept = await road.tunnel(alice, ORDERS);
    const lost = await road.tunnel(alice, LEDGER);
    road.admit('s-alice', ALICE, [ORDERS]);
    await closed(lost.inner);
    expect(await say(kept.inner, 'hello')).toBe('hello');
    expect(road.decisions.at(-1)).toMatchObject({ outcome: 'ended', code: 'tunnel_target_not_granted' });
  });

  test('when its session expires by the clock', async () => {
    road = await buildRoad();
    road.admit('s-alice', ALICE, [ORDERS], Math.floor(Date.now() / 1000) + 20);
    const { inner } = await road.tunnel(await svid(road.mesh, ALICE));
    road.advance(21_000);
    road.directory.sweep();
    await closed(inner);
    expect(road.decisions.at(-1)).toMatchObject({ outcome: 'ended', code: 'session_closed' });
  });

  test('when the broker has been silent for too long', async () => {
    const alice = await aliceOnTheRoad();
    const { inner } = await road.tunnel(alice);
    road.advance(500_000);
    road.directory.sweep();
    expect(await say(inner, 'as last heard')).toBe('as last heard');
    expect(await say((await road.tunnel(alice)).inner, 'a new one too')).toBe('a new one too');
    road.advance(101_000);
    road.directory.sweep();
    await closed(inner);
  });

  test('even when its client reads nothing and much is on the way', async () => {
    const alice = await aliceOnTheRoad({}, { serve: flood });
    const { outer, inner } = await road.tunnel(alice);
    inner.pause();
    outer.pause();
    await settled(() => road.arrivals[0]!.bytesWritten);
    road.directory.apply({ type: 'close', id: 's-alice', reason: 'admin' });
    expect(road.edge.stats().connections).toBe(0);
    await vi.waitFor(() => expect(road.arrivals[0]!.destroyed).toBe(true));
  });
});

test('a client that does not read stops the gateway from sending, and the edge holds little', async () => {
  const alice = await aliceOnTheRoad({}, { serve: flood });
  const { outer, inner } = await road.tunnel(alice);
  inner.pause();
  outer.pause();
  const passed = await settled(() => road.edge.stats().bytesOut);
  // What the kernel buffers hold, and the high-water mark: not what the service could have sent.
  expect(passed).toBeLessThan(32 * 1024 * 1024);
  inner.resume();
  await vi.waitFor(() => expect(road.edge.stats().bytesOut).toBeGreaterThan(passed + 64 * 1024 * 1024), {
    timeout: 20_000,
  });
}, 30_000);

test('a gateway that does not read stops the client from sending', async () => {
  const alice = await aliceOnTheRoad({}, { rawGateway: (socket) => socket.pause() });
  const outer = await road.outer(alice);
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
