import { MeshpassError } from '@meshpass/identity/error';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { BrokerClient } from '../src/broker-client.ts';
import { Keeper } from '../src/keep.ts';

const HEARTBEAT = 15;

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

test('while the broker is away, the lease is tried no more seldom than it would be renewed', async () => {
  const beats: number[] = [];
  const session = { id: 'one', grants: [], heartbeat_seconds: HEARTBEAT, lease_seconds: 45 };
  const client = {
    brokerNow: Date.now(),
    openSession: async () => ({ access_token: 'mps', session, mesh: { roots: [] }, services: [] }),
    token: async () => ({ access_token: 'a.b.c', expires_in: 86_400 }),
    heartbeat: async () => {
      beats.push(Date.now());
      throw new MeshpassError('agent_broker_unreachable', 'It does not answer.');
    },
    goodbye: async () => {},
    close: () => {},
  };
  const keeper = new Keeper({
    client: client as unknown as BrokerClient,
    source: { kind: 'file', proof: async () => ({ type: 'oidc', token: 'proof' }) },
    ...{ now: Date.now, random: () => 0.999, onChange: () => {}, log: () => {} },
  });
  await keeper.start();
  await vi.advanceTimersByTimeAsync(10 * 60_000);
  await keeper.close();
  expect(beats.length).toBeGreaterThan(30);
  const gaps = beats.slice(1).map((at, n) => at - beats[n]!);
  expect(Math.max(...gaps)).toBeLessThanOrEqual(HEARTBEAT * 1000);
});
