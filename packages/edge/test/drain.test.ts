/** Draining of an edge: what it continues to serve, whom it notifies, and when it is done. */
import { afterEach, expect, test, vi } from 'vitest';
import type { ControlBroker } from '../src/index.ts';
import { ALICE, BOB, buildDataPath, closed, connectHead, type DataPath, ORDERS, say } from './data-path.ts';
import { svid } from './mesh-ca.ts';

let dataPath: DataPath;
afterEach(() => dataPath.close());

/** Longer than any test. */
const LONG = 600_000;

async function aliceOnline(control?: ControlBroker) {
  dataPath = await buildDataPath({}, control ? { control } : {});
  dataPath.admit('s-alice', ALICE);
  return svid(dataPath.mesh, ALICE);
}

function brokerThat(hears: ControlBroker['draining']): ControlBroker {
  return { renew: async () => [], configuration: async () => Buffer.alloc(0), draining: hears };
}

test('serves existing and new tunnels until the last of them has ended', async () => {
  const alice = await aliceOnline();
  const old = await dataPath.tunnel(alice);
  const drained = dataPath.edge.drain(LONG);
  expect(dataPath.edge.stats().draining).toBe(true);
  const late = await dataPath.tunnel(alice);
  expect([await say(old.inner, 'old'), await say(late.inner, 'late')]).toEqual(['old', 'late']);
  old.inner.end();
  await closed(old.inner);
  expect(await say(late.inner, 'still')).toBe('still');
  late.inner.end();
  expect(await drained).toBe(0);
});

test('finishes at once if only connections without a CONNECT are open', async () => {
  const alice = await aliceOnline();
  await dataPath.outer(alice);
  expect(await dataPath.edge.drain(LONG)).toBe(0);
});

test('waits for a tunnel whose CONNECT is arriving', async () => {
  const alice = await aliceOnline();
  const outer = await dataPath.outer(alice);
  const head = connectHead(ORDERS);
  outer.write(head.slice(0, 10));
  const drained = dataPath.edge.drain(2_500);
  expect(await say(outer, head.slice(10))).toMatch(/^HTTP\/1\.1 200 /);
  expect(await drained).toBe(1);
});

test('returns the remaining tunnels after its time, and cuts none of them before it is closed', async () => {
  const alice = await aliceOnline();
  const { inner } = await dataPath.tunnel(alice);
  expect(await dataPath.edge.drain(200)).toBe(1);
  expect(await say(inner, 'hello')).toBe('hello');
  await dataPath.edge.close();
  await closed(inner);
  expect(dataPath.decisions.at(-1)).toMatchObject({ outcome: 'ended', reason: 'the edge is stopping' });
});

test('repeatedly reports the age of the newest tunnel of each session to the broker', async () => {
  const heard: { session_id: string; newest_ms: number }[][] = [];
  const alice = await aliceOnline(brokerThat(async (sessions) => void heard.push([...sessions])));
  dataPath.admit('s-bob', BOB);
  const bob = await svid(dataPath.mesh, BOB);
  await dataPath.tunnel(alice);
  await dataPath.tunnel(bob);
  dataPath.advance(60_000);
  await dataPath.tunnel(alice);
  const drained = dataPath.edge.drain(2_500);
  await vi.waitFor(() => expect(heard.length).toBeGreaterThan(1), { timeout: 30_000 });
  const ages = new Map(heard[0]!.map(({ session_id, newest_ms }) => [session_id, newest_ms]));
  expect(ages.size).toBe(2);
  expect(ages.get('s-alice')).toBeLessThan(60_000);
  expect(ages.get('s-bob')).toBeGreaterThanOrEqual(60_000);
  expect(await drained).toBe(3);
});

test('drains even if the broker does not answer', async () => {
  const alice = await aliceOnline(brokerThat(() => Promise.reject(new Error('away'))));
  const { inner } = await dataPath.tunnel(alice);
  const drained = dataPath.edge.drain(LONG);
  expect(await say(inner, 'hello')).toBe('hello');
  inner.end();
  expect(await drained).toBe(0);
});
