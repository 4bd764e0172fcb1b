/** Changes of keys, roots and grants by others, which the agent follows without a restart. */
import { expect, test, vi } from 'vitest';
import { createAuthority } from './harness.ts';
import type { TestBroker } from './test-broker.ts';
import { world } from './world.ts';

const count = (broker: TestBroker, call: string) => broker.calls.filter((one) => one === call).length;
const heartbeats = (broker: TestBroker) => count(broker, 'POST /leases');
const eventually = (look: () => void) => vi.waitFor(look, { timeout: 60_000, interval: 50 });
const within = 40_000;

async function started(adjust: (broker: TestBroker) => void = () => {}) {
  return await world({
    adjust: (broker) => {
      broker.heartbeatSeconds = 1;
      adjust(broker);
    },
  });
}
/** Waits until the agent has learned of the current state and had time to react. */
async function twoHeartbeats(broker: TestBroker): Promise<void> {
  const before = heartbeats(broker);
  await eventually(() => expect(heartbeats(broker)).toBeGreaterThanOrEqual(before + 2));
}

test('replaces a token once with the next heartbeat after its key was removed', {
  timeout: within,
}, async () => {
  const { broker, agent } = await started((broker) => {
    broker.tokenKey = 'first';
    broker.tokenKeys = ['first'];
  });
  expect(count(broker, 'POST /token')).toBe(2);
  // An additional key, even in first position, does not invalidate the token.
  broker.tokenKeys = ['next', 'first'];
  await twoHeartbeats(broker);
  expect(count(broker, 'POST /token')).toBe(2);

  broker.tokenKey = 'next';
  broker.tokenKeys = ['next'];
  await eventually(() => expect(count(broker, 'POST /token')).toBe(3));
  await twoHeartbeats(broker);
  expect(count(broker, 'POST /token')).toBe(3);
  expect((await agent.status()).broker.failures).toEqual({});
});

test('replaces a certificate as soon as its root is removed, but not while both are trusted', {
  timeout: within,
}, async () => {
  const { broker, agent } = await started();
  const next = await createAuthority('next');
  const old = broker.roots[0]!;
  expect(count(broker, 'POST /certificates')).toBe(1);
  // The first heartbeat triggers a read of the services in any case.
  await eventually(() => expect(count(broker, 'GET /services')).toBe(1));
  broker.roots = [old, next.root];
  broker.servicesVersion = 'both';
  await eventually(() => expect(count(broker, 'GET /services')).toBe(2));
  broker.authority = next;
  await twoHeartbeats(broker);
  expect(count(broker, 'POST /certificates')).toBe(1);

  broker.roots = [next.root];
  broker.servicesVersion = 'next';
  await eventually(() => expect(count(broker, 'POST /certificates')).toBe(2));
  await twoHeartbeats(broker);
  expect(count(broker, 'POST /certificates')).toBe(2);
  expect((await agent.status()).broker.failures).toEqual({});
});
