/**
 * Connections are identified by their socket, not their addresses; the kernel confirms that none is left after an end.
 */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { connectionsAt } from '@meshpass/lab/network/sockets';
import { afterEach, expect, test } from 'vitest';
import { ALICE, BOB, buildDataPath, closed, connectHead, type DataPath, ORDERS, say } from './data-path.ts';
import { svid } from './mesh-ca.ts';

let dataPath: DataPath;
afterEach(() => dataPath.close());

const atTheEdge = () => connectionsAt(dataPath.edge.address.port);
const atTheGateway = () => connectionsAt((dataPath.arrivals[0]!.address() as { port: number }).port);

/** Opens two tunnels of two sessions, from one source port to two addresses of the edge. */
async function twins() {
  dataPath = await buildDataPath({}, { everywhere: true });
  dataPath.admit('s-alice', ALICE);
  dataPath.admit('s-bob', BOB);
  const first = await dataPath.outer(await svid(dataPath.mesh, ALICE), undefined, {
    host: '127.0.0.1',
    localAddress: '127.0.0.1',
  });
  const way = { host: '127.0.0.2', localAddress: '127.0.0.1', localPort: first.localPort! };
  const second = await dataPath.outer(await svid(dataPath.mesh, BOB), undefined, way);
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
  'of two connections with one source port, the %s ends with its session and the other remains',
  async (which, ended, other) => {
    const { first, second } = await twins();
    expect(dataPath.edge.stats()).toMatchObject({ connections: 2 });
    expect(atTheEdge()).toHaveLength(2);
    dataPath.directory.apply({ type: 'close', id: ended, reason: 'operator' });
    await expect.poll(() => atTheEdge().length).toBe(1);
    await expect.poll(() => atTheGateway().length).toBe(1);
    expect(dataPath.edge.stats()).toMatchObject({ connections: 1 });
    const [gone, stays] = which === 'first' ? [first, second] : [second, first];
    await expect.poll(() => gone.destroyed).toBe(true);
    expect(stays.destroyed).toBe(false);
    dataPath.directory.apply({ type: 'close', id: other, reason: 'operator' });
    await expect.poll(atTheEdge).toEqual([]);
    await expect.poll(atTheGateway).toEqual([]);
    expect(dataPath.edge.stats()).toMatchObject({ connections: 0 });
  },
);

test('after the end of a session the kernel has none of its sockets, whatever their stage', async () => {
  dataPath = await buildDataPath();
  dataPath.admit('s-alice', ALICE);
  const alice = await svid(dataPath.mesh, ALICE);
  await dataPath.outer(alice); // warm
  (await dataPath.outer(alice)).write('CONNECT orders'); // in its head
  await openRaw(await dataPath.outer(alice)); // before its hello
  const { inner } = await dataPath.tunnel(alice); // open
  expect(await say(inner, 'hello')).toBe('hello');
  expect(atTheEdge()).toHaveLength(4);
  dataPath.directory.apply({ type: 'close', id: 's-alice', reason: 'operator' });
  await expect.poll(atTheEdge).toEqual([]);
  await expect.poll(atTheGateway).toEqual([]);
});

test('a failed handshake ends only its own connection, not one with the same source', async () => {
  dataPath = await buildDataPath({}, { everywhere: true });
  dataPath.admit('s-alice', ALICE);
  const outer = await dataPath.outer(await svid(dataPath.mesh, ALICE), undefined, { localAddress: '127.0.0.1' });
  const noise = connect({
    host: '127.0.0.2',
    port: dataPath.edge.address.port,
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
