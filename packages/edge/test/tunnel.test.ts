/** Tunnels of live sessions: their traffic, and their end. */
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { afterEach, describe, expect, test, vi } from 'vitest';
import {
  ALICE,
  buildDataPath,
  captureHello,
  closed,
  connectHead,
  type DataPath,
  hear,
  LEDGER,
  ORDERS,
  say,
} from './data-path.ts';
import { svid } from './mesh-ca.ts';

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
    await vi.waitFor(() => expect(dataPath.decisions).toHaveLength(2), { timeout: 60_000 });
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

  test('receives its own bytes if it reads late, as does its neighbour', async () => {
    // All tunnels share one read buffer: bytes waiting for one client must not be overwritten by those for another.
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

  test('may end its half and still receive the response', async () => {
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

  test('is cut soon after the service has closed, even if the client never closes', async () => {
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

describe('a tunnel ends at once', () => {
  test('if its session closes, on both sides', async () => {
    const alice = await aliceOnline();
    const tunnels = await Promise.all(Array.from({ length: 10 }, () => dataPath.tunnel(alice)));
    const warm = await dataPath.outer(alice);
    const ends = [...tunnels.map((tunnel) => tunnel.outer), warm].map(closed);
    const start = performance.now();
    dataPath.directory.apply({ type: 'close', id: 's-alice', reason: 'the Codespace has stopped' });
    expect(dataPath.edge.stats()).toMatchObject({ connections: 0, tunnels: 0 });
    await Promise.all(ends);
    await vi.waitFor(() => expect(dataPath.arrivals.every((socket) => socket.destroyed)).toBe(true), {
      timeout: 60_000,
    });
    const took = performance.now() - start;
    console.info(`10 tunnels and a warm connection cut in ${took.toFixed(1)} ms`);
    expect(dataPath.decisions.filter((decision) => decision.outcome === 'ended')).toHaveLength(10);
    expect(dataPath.decisions.at(-1)).toMatchObject({ code: 'session_closed' });
    expect(dataPath.decisions.at(-1)!.reason).toContain('the Codespace has stopped');
  });

  test('if its target is lost, while others of the session remain', async () => {
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

  test('if its session expires by the clock', async () => {
    dataPath = await buildDataPath();
    dataPath.admit('s-alice', ALICE, [ORDERS], Math.floor(Date.now() / 1000) + 20);
    const { inner } = await dataPath.tunnel(await svid(dataPath.mesh, ALICE));
    dataPath.advance(21_000);
    dataPath.directory.sweep();
    await closed(inner);
    expect(dataPath.decisions.at(-1)).toMatchObject({ outcome: 'ended', code: 'session_closed' });
  });

  test('if the broker has been silent for too long', async () => {
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

  test('even if its client reads nothing and much data is in transit', async () => {
    const alice = await aliceOnline({}, { serve: flood });
    const { outer, inner } = await dataPath.tunnel(alice);
    inner.pause();
    outer.pause();
    await settled(() => dataPath.arrivals[0]!.bytesWritten);
    dataPath.directory.apply({ type: 'close', id: 's-alice', reason: 'admin' });
    expect(dataPath.edge.stats().connections).toBe(0);
    await vi.waitFor(() => expect(dataPath.arrivals[0]!.destroyed).toBe(true), { timeout: 60_000 });
  });
});

test('a client that does not read stops the gateway from sending, and the edge buffers little', async () => {
  const alice = await aliceOnline({}, { serve: flood });
  const { outer, inner } = await dataPath.tunnel(alice);
  inner.pause();
  outer.pause();
  const passed = await settled(() => dataPath.edge.stats().bytesOut);
  // Kernel buffers and the high-water mark, far less than the service could have sent.
  expect(passed).toBeLessThan(32 * 1024 * 1024);
  inner.resume();
  await vi.waitFor(() => expect(dataPath.edge.stats().bytesOut).toBeGreaterThan(passed + 64 * 1024 * 1024), {
    timeout: 60_000,
  });
});

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
});

function flood(socket: Socket): void {
  const block = Buffer.alloc(65_536);
  const pump = () => {
    while (!socket.destroyed && socket.write(block));
  };
  socket.on('drain', pump);
  socket.once('close', () => socket.off('drain', pump));
  pump();
}

/** Returns the value once it has stopped growing. */
async function settled(value: () => number): Promise<number> {
  for (let before = -1; ; ) {
    await new Promise((resolve) => setTimeout(resolve, 150));
    const now = value();
    if (now === before && now > 0) return now;
    before = now;
  }
}
