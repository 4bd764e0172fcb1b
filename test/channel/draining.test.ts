/** An edge ends under a workspace's calls: no call is lost, and an edge that only claims to drain gains nothing. */
import { Agent } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import type { TLSSocket } from 'node:tls';
import { afterEach, describe, expect, test } from 'vitest';
import { service } from '../../packages/agent/test/harness.ts';
import { request } from '../../packages/agent/test/world.ts';
import { type BalancedWorld, balancedWorld } from './balanced-edges.ts';
import { asked } from './running-agent.ts';

const { address, port } = service();
/** Longer than any test. */
const LONG = 600_000;
const TUNNELS = { timeout: 30_000 };

let stopCalling = () => {};
afterEach(() => stopCalling());

/** Workload that answers at once, except `/slow`, which the test releases. */
function workload() {
  const told = Promise.withResolvers<void>();
  let slow = 0;
  const onConnection = (socket: TLSSocket) => {
    socket.on('end', () => socket.end());
    socket.on('data', (data: Buffer) => {
      const answer = () => socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok');
      if (!String(data).startsWith('GET /slow ')) return answer();
      slow++;
      void told.promise.then(answer);
    });
  };
  return { onConnection, answerSlowOnes: told.resolve, slowOnes: () => slow };
}

const call = (path: string, agent?: Agent) => request(address!, port, path, {}, agent);

/** Calls by a new connection each, and by one that is kept, until it is asked. @returns how many there were, and the failed ones */
function callAllTheTime() {
  const kept = new Agent({ keepAlive: true, maxSockets: 1 });
  const failed: string[] = [];
  let calls = 0;
  let stopped = false;
  const loop = async (agent?: Agent) => {
    for (; !stopped; await sleep(5)) {
      const answer = await call('/orders/1', agent).catch((error: Error) => ({ status: 0, body: error.message }));
      calls++;
      if (answer.status !== 200) failed.push(`${answer.status} ${answer.body}`);
    }
  };
  const done = Promise.all([loop(), loop(kept)]);
  stopCalling = () => {
    stopped = true;
  };
  return async () => {
    stopped = true;
    await done;
    kept.destroy();
    return { calls, failed };
  };
}

const tunnelsOf = (w: BalancedWorld) => w.edges.map((edge) => edge.stats().tunnels > 0);

describe.each(['first', 'second'] as const)(
  'an edge with tunnels that drains, while the control connection leads to the %s edge',
  (controlAt) => {
    test('ends without a failed call, over a new connection, over a kept one, or while a call takes longer', async () => {
      const { onConnection, answerSlowOnes, slowOnes } = workload();
      const w = await balancedWorld(onConnection, controlAt);
      const [first, second] = w.edges;
      await expect.poll(() => first.stats().tunnels, TUNNELS).toBeGreaterThan(0);
      await expect.poll(() => first.stats().control + second.stats().control, TUNNELS).toBe(1);
      const stop = callAllTheTime();
      const slow = call('/slow');
      await expect.poll(slowOnes, TUNNELS).toBe(1);
      const before = { asked: asked(w.broker, 'GET /session/configuration'), renewed: w.control.renewed };

      w.lead({ control: second, tunnels: second });
      const drained = first.drain(LONG);
      await expect.poll(() => tunnelsOf(w), TUNNELS).toEqual([true, true]);
      await expect.poll(() => second.stats().control, TUNNELS).toBe(1);
      // The tunnel of the slow call remains.
      await expect.poll(() => first.stats().tunnels, TUNNELS).toBe(1);
      answerSlowOnes();
      expect(await slow).toMatchObject({ status: 200 });
      expect(await drained).toBe(0);

      expect(await stop()).toEqual({ calls: expect.any(Number), failed: [] });
      expect(w.logged.filter((event) => event === 'tunnels_replaced')).toHaveLength(1);
      // The broker's configuration is unchanged, and the lease continues.
      await expect.poll(() => w.control.renewed, TUNNELS).toBeGreaterThan(before.renewed);
      expect(asked(w.broker, 'GET /session/configuration')).toBe(before.asked);
      expect(await w.agent.status()).toMatchObject({
        draining: { at: expect.any(Number), replaced: 1 },
        configuration: { version: w.broker.configurationVersion, refused: [], rejected: [] },
      });
    });
  },
);

describe('an edge that claims to drain, and does not', () => {
  test('costs the workspace tunnels now and then, and no call', async () => {
    const w = await balancedWorld(workload().onConnection);
    const [first] = w.edges;
    await expect.poll(() => first.stats().tunnels, TUNNELS).toBeGreaterThan(0);
    const stop = callAllTheTime();
    const [session] = w.broker.sessions.values();
    const replaced = () => w.logged.filter((event) => event === 'tunnels_replaced').length;
    const startedAt = performance.now();
    while (replaced() < 2) {
      w.control.tell({ type: 'draining', sessions: [{ session_id: session!.id, newest_ms: 0 }] });
      await sleep(20);
    }
    expect(performance.now() - startedAt).toBeGreaterThan(5_000);
    expect(await stop()).toEqual({ calls: expect.any(Number), failed: [] });
  });

  test('is retried at growing intervals, while leases continue', async () => {
    const w = await balancedWorld(workload().onConnection);
    const [only] = w.edges;
    await expect.poll(() => only.stats().control, TUNNELS).toBe(1);
    const before = { handshakes: only.stats().handshakes, renewed: w.control.renewed };
    const draining = only.drain(10_000);
    await draining;
    // Without growth, retries about every half second would be twenty in these ten seconds.
    expect(only.stats().handshakes - before.handshakes).toBeLessThan(15);
    expect(w.control.renewed).toBeGreaterThan(before.renewed);
    expect((await call('/orders/1')).status).toBe(200);
  });
});
