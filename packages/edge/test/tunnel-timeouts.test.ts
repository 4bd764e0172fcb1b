import { connect as connectTcp } from 'node:net';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { ALICE, buildDataPath, closed, connectHead, type DataPath, hear, ORDERS, say } from './data-path.ts';
import { svid } from './mesh-ca.ts';

let dataPath: DataPath;
afterEach(() => dataPath.close());

async function aliceOnline(...args: Parameters<typeof buildDataPath>) {
  dataPath = await buildDataPath(...args);
  dataPath.admit('s-alice', ALICE);
  return svid(dataPath.mesh, ALICE);
}

describe('a slow client is cut', () => {
  test('in the TLS handshake', async () => {
    await aliceOnline({ handshakeMs: 80 });
    const plain = connectTcp(dataPath.edge.address.port, '127.0.0.1');
    plain.on('error', () => {});
    await closed(plain);
    expect(dataPath.decisions.at(-1)).toMatchObject({ code: 'tunnel_handshake_timeout' });
  });

  test('in the request head, even if bytes keep arriving', async () => {
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
    await vi.waitFor(() => expect(dataPath.arrivals.every((socket) => socket.destroyed)).toBe(true), {
      timeout: 60_000,
    });
  });

  test('if it waits too long before its CONNECT, and no sooner', async () => {
    const alice = await aliceOnline({ warmMs: 150 });
    const outer = await dataPath.outer(alice);
    const at = Date.now();
    await closed(outer);
    expect(Date.now() - at).toBeGreaterThanOrEqual(140);
  });

  test('if its tunnel is idle, while an active one continues', async () => {
    const alice = await aliceOnline({ idleMs: 300 });
    const idle = await dataPath.tunnel(alice);
    const busy = await dataPath.tunnel(alice);
    const chat = setInterval(() => busy.inner.write('x'), 50);
    await closed(idle.outer);
    expect(busy.outer.destroyed).toBe(false);
    clearInterval(chat);
    expect(dataPath.decisions.find((decision) => decision.outcome === 'ended')).toMatchObject({ code: 'tunnel_idle' });
  });

  test('if it does not read its refusal', async () => {
    await aliceOnline({ lingerMs: 80 });
    const outer = await dataPath.outer(undefined);
    await hear(outer);
    expect(dataPath.edge.stats().connections).toBe(1);
    await dataPath.empty();
  });
});
