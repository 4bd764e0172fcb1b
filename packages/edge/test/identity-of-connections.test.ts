/** A connection is itself, not its addresses; what an end leaves is asked of the kernel. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { connectionsAt } from '@meshpass/lab/network/sockets';
import { afterEach, expect, test } from 'vitest';
import { ALICE, BOB, buildRoad, closed, connectHead, ORDERS, type Road, say } from './data-path.ts';
import { svid } from './mesh-ca.ts';

let road: Road;
afterEach(() => road.close());

const atTheEdge = () => connectionsAt(road.edge.address.port);
const atTheGateway = () => connectionsAt((road.arrivals[0]!.address() as { port: number }).port);

/** Two tunnels of two sessions, from one source port towards two addresses of the edge. */
async function twins() {
  road = await buildRoad({}, { everywhere: true });
  road.admit('s-alice', ALICE);
  road.admit('s-bob', BOB);
  const first = await road.outer(await svid(road.mesh, ALICE), undefined, {
    ...{ host: '127.0.0.1', localAddress: '127.0.0.1' },
  });
  const way = { host: '127.0.0.2', localAddress: '127.0.0.1', localPort: first.localPort! };
  const second = await road.outer(await svid(road.mesh, BOB), undefined, way);
  expect([first.localPort, first.localAddress]).toEqual([second.localPort, second.localAddress]);
  for (const outer of [first, second]) await openRaw(outer);
  return { first, second };
}

async function openRaw(outer: Socket): Promise<void> {
  expect(await say(outer, connectHead(ORDERS))).toBe('HTTP/1.1 200 OK\r\n\r\n');
}

test.each([
  ['first', 's-alice', 's-bob'],
  ['second', 's-bob', 's-alice'],
])(
  'of two connections with one source port the %s ends with its session, and the other stays',
  async (which, ended, other) => {
    const { first, second } = await twins();
    expect(road.edge.stats()).toMatchObject({ connections: 2 });
    expect(atTheEdge()).toHaveLength(2);
    road.directory.apply({ type: 'close', id: ended, reason: 'operator' });
    await expect.poll(() => atTheEdge().length).toBe(1);
    await expect.poll(() => atTheGateway().length).toBe(1);
    expect(road.edge.stats()).toMatchObject({ connections: 1 });
    const [gone, stays] = which === 'first' ? [first, second] : [second, first];
    await expect.poll(() => gone.destroyed).toBe(true);
    expect(stays.destroyed).toBe(false);
    road.directory.apply({ type: 'close', id: other, reason: 'operator' });
    await expect.poll(atTheEdge).toEqual([]);
    await expect.poll(atTheGateway).toEqual([]);
    expect(road.edge.stats()).toMatchObject({ connections: 0 });
  },
);

test('after the end of a session the kernel has no socket of it, in whatever stage its connections were', async () => {
  road = await buildRoad();
  road.admit('s-alice', ALICE);
  const alice = await svid(road.mesh, ALICE);
  await road.outer(alice); // warm
  (await road.outer(alice)).write('CONNECT orders'); // in its head
  await openRaw(await road.outer(alice)); // before its hello
  const { inner } = await road.tunnel(alice); // open
  expect(await say(inner, 'hello')).toBe('hello');
  expect(atTheEdge()).toHaveLength(4);
  road.directory.apply({ type: 'close', id: 's-alice', reason: 'operator' });
  await expect.poll(atTheEdge).toEqual([]);
  await expect.poll(atTheGateway).toEqual([]);
});

test('a failed handshake ends the connection that failed, and not one with the same source', async () => {
  road = await buildRoad({}, { everywhere: true });
  road.admit('s-alice', ALICE);
  const outer = await road.outer(await svid(road.mesh, ALICE), undefined, { localAddress: '127.0.0.1' });
  const noise = connect({
    host: '127.0.0.2',
    port: road.edge.address.port,
    localAddress: '127.0.0.1',
    localPort: outer.localPort!,
  });
  noise.on('error', () => {});
  await once(noise, 'connect');
  noise.write('GET / HTTP/1.1\r\n\r\n');
  await closed(noise);
  await expect.poll(() => atTheEdge().length).toBe(1);
  await openRaw(outer);
});
