/**
 * Checks what docs/install/upgrade.md says of drained nodes, on a real cluster: while a Codespace calls a service all the time, brokers, edges
 * and gateways are taken away.
 */
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import type { Developer } from './developer.ts';
import { type InUse, installationInUse, withoutGatewayEnds } from './in-use.ts';
import { type ClusterWithImage, IN, SOON } from './on-cluster.ts';

let inUse: InUse;
let on: ClusterWithImage;
let developer: Developer;

beforeAll(async () => {
  inUse = await installationInUse();
  ({ on, developer } = inUse);
});
afterAll(() => inUse?.close());

const podsOf = async (component: string) => {
  const only = ['-l', `app.kubernetes.io/component=${component}`, '-o', 'jsonpath={.items[*].metadata.name}'];
  return (await on.kubectl(...IN, 'get', 'pods', ...only)).split(' ');
};
const allReady = (component: string) =>
  on.kubectl(...IN, 'rollout', 'status', `deployment/meshpass-${component}`, '--timeout=120s');
/** Steps of `kubectl drain` for each Pod of a node. */
const evict = async (name: string) => {
  const metadata = { name, namespace: 'meshpass-system' };
  const eviction = JSON.stringify({ apiVersion: 'policy/v1', kind: 'Eviction', metadata });
  const path = `/api/v1/namespaces/meshpass-system/pods/${name}/eviction`;
  return on.cluster.kubectl(['create', '--raw', path, '-f', '-'], { input: eviction });
};
/** @returns its name, when there is exactly one */
const anotherIsActive = (than = '') =>
  vi.waitFor(async () => {
    const now = await on.active();
    expect([now, now === than]).toEqual([expect.stringMatching(/^meshpass-broker-\S+$/), false]);
    return now;
  }, SOON);

it('no call fails while the active broker is deleted, and evicted', async () => {
  for (const takeAway of [evict, (name: string) => on.kubectl(...IN, 'delete', 'pod', name, '--wait=false')]) {
    const gone = await anotherIsActive();
    const seen = await developer.during(async () => {
      await takeAway(gone);
      await anotherIsActive(gone);
      await allReady('broker');
    });
    expect(seen).toEqual({ calls: expect.any(Number), failed: [] });
    console.log(`${seen.calls} calls while ${gone} went`);
  }
  expect(await developer.meshpass('status')).toMatchObject({ code: 0 });
});

/** Each is gone before the next one goes. */
const evictEach = async (component: string) => {
  for (const name of await podsOf(component)) {
    await allReady(component);
    expect(await evict(name)).toMatchObject({ code: 0 });
    await on.kubectl(...IN, 'wait', '--for=delete', `pod/${name}`, '--timeout=90s');
  }
  await allReady(component);
};

it('no call fails while each edge is evicted in turn', async () => {
  const seen = await developer.during(() => evictEach('edge'), ['new', 'kept', 'slow']);
  expect(seen).toEqual({ calls: expect.any(Number), failed: [] });
  console.log(`${seen.calls} calls while every edge went`);
  expect(await developer.meshpass('status')).toMatchObject({ code: 0 });
});

it('no call fails while each mesh gateway is evicted in turn, but those under way on its tunnels when it ends', async () => {
  const { calls, failed } = await developer.during(() => evictEach('gateway'));
  console.log(`${calls} calls while every gateway went, ${failed.length} failed`);
  expect(await withoutGatewayEnds(on, failed)).toEqual([]);
});
