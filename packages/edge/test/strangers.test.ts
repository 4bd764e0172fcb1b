/** Connections without a session cannot keep sessions out. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { createHandshakeQueue } from '../src/listener/handshake-queue.ts';
import { ALICE, buildDataPath, captureHello, connectHead, type DataPath, ORDERS, say } from './data-path.ts';
import { svid } from './mesh-ca.ts';

let dataPath: DataPath | undefined;
const held: Socket[] = [];
afterEach(async () => {
  for (const socket of held.splice(0)) socket.destroy();
  await dataPath?.close();
  dataPath = undefined;
});

async function aliceOnline(...[limits]: Parameters<typeof buildDataPath>) {
  dataPath = await buildDataPath(limits);
  dataPath.admit('s-alice', ALICE);
  return { ...dataPath, alice: await svid(dataPath.mesh, ALICE) };
}

/** Opens connections that stay silent, or start a handshake without finishing it, in this order at the edge. */
async function idle(count: number, localAddress = '127.0.0.1', begin = false): Promise<Socket[]> {
  const before = dataPath!.edge.stats().accepted;
  const hello = await captureHello('edge.test');
  const made: Socket[] = [];
  for (let i = 0; i < count; i++) {
    const socket = connect({ host: '127.0.0.1', port: dataPath!.edge.address.port, localAddress });
    socket.on('error', () => {});
    held.push(socket);
    made.push(socket);
    await once(socket, 'connect');
    if (!begin) continue;
    socket.write(hello);
    await once(socket, 'data'); // the edge has read it
  }
  await expect.poll(() => dataPath!.edge.stats().accepted).toBe(before + count);
  return made;
}

test('1,100 silent connections from a shared address do not keep another client out', async () => {
  const { alice, edge, decisions, outer } = await aliceOnline();
  const silent = await idle(1_100);
  expect(await say(await outer(alice), connectHead(ORDERS))).toBe('HTTP/1.1 200 OK\r\n\r\n');
  // The last one made room for the session's own connection.
  await expect.poll(() => silent.filter((socket) => socket.destroyed).length).toBe(77);
  expect(silent.slice(0, 77).every((socket) => socket.destroyed)).toBe(true);
  expect(edge.stats()).toMatchObject({ evicted: 77, strangers: 1_023, refused: { tunnel_limit: 77 } });
  expect(decisions.filter(({ code }) => code === 'tunnel_limit').length).toBeGreaterThan(0);
});

test('connections that have sent bytes have no priority over a new silent one', async () => {
  const { alice, edge, outer } = await aliceOnline({ strangersPerSource: 4 });
  const flood = await idle(3, '127.0.0.1', true);
  const [newcomer] = await idle(1);
  flood.push(...(await idle(3, '127.0.0.1', true)));
  await expect.poll(() => flood.map((socket) => socket.destroyed)).toEqual([true, true, true, false, false, false]);
  expect(newcomer!.destroyed).toBe(false);
  expect(edge.stats()).toMatchObject({ evicted: 3, connections: 4 });
  expect(await say(await outer(alice), connectHead(ORDERS))).toBe('HTTP/1.1 200 OK\r\n\r\n');
  await expect.poll(() => newcomer!.destroyed).toBe(true);
});

test('the oldest connection ends, and a new one is never refused', async () => {
  const { alice, edge, outer } = await aliceOnline({ strangersPerSource: 2 });
  const begun = await idle(2, '127.0.0.1', true);
  expect(await say(await outer(alice), connectHead(ORDERS))).toBe('HTTP/1.1 200 OK\r\n\r\n');
  await expect.poll(() => begun.map((socket) => socket.destroyed)).toEqual([true, false]);
  expect(edge.stats()).toMatchObject({ evicted: 1, strangers: 1, connections: 2 });
});

test('connections of a session do not count, and are never evicted for strangers', async () => {
  const { alice, edge, outer } = await aliceOnline({ strangersPerSource: 2, strangers: 2 });
  const warm = [await outer(alice), await outer(alice), await outer(alice), await outer(alice)];
  expect(edge.stats()).toMatchObject({ evicted: 0, strangers: 0, warm: 4 });
  await idle(5);
  expect(edge.stats()).toMatchObject({ evicted: 3, strangers: 2, warm: 4 });
  for (const one of warm) expect(await say(one, connectHead(ORDERS))).toBe('HTTP/1.1 200 OK\r\n\r\n');
});

test('the most crowded source makes room when the total limit is reached', async () => {
  const { edge } = await aliceOnline({ strangers: 6 });
  const few = await idle(2, '127.0.0.3', true);
  const many = await idle(4, '127.0.0.2');
  await idle(2, '127.0.0.4');
  await expect.poll(() => many.map((socket) => socket.destroyed)).toEqual([true, true, false, false]);
  expect(few.map((socket) => socket.destroyed)).toEqual([false, false]);
  expect(edge.stats()).toMatchObject({ evicted: 2, strangers: 6 });
});

test('handshakes of one source do not delay those of another', () => {
  const started: string[] = [];
  const steps: (() => void)[] = [];
  const turns = createHandshakeQueue<string>(
    2,
    (item) => {
      if (item !== 'gone') started.push(item);
      return item !== 'gone';
    },
    (run) => steps.push(run),
  );
  for (let i = 1; i <= 6; i++) turns.add('flood', `flood ${i}`);
  for (let i = 1; i <= 1_000; i++) turns.add('neighbour', 'gone');
  turns.add('neighbour', 'neighbour 1');
  expect(started).toEqual(['flood 1', 'flood 2']);
  steps.shift()!();
  expect(started.slice(2)).toEqual(['flood 3', 'neighbour 1']);
  while (steps.length > 0) steps.shift()!();
  expect(started).toHaveLength(7);
  expect(turns.waiting).toBe(0);
  // The queue is empty, so the next one starts at once.
  turns.add('neighbour', 'neighbour 2');
  expect(started.at(-1)).toBe('neighbour 2');
});
