/** A whole agent with its Envoy: how it renews its lease, and the effects of an edge that lies. */
import { createServer } from 'node:net';
import type { ControlBroker } from '@meshpass/edge';
import { CONTROL_ALPN, type LeaseAnswer } from '@meshpass/identity/channel';
import { describe, expect, test } from 'vitest';
import { afterThisTest, request } from '../../packages/agent/test/world.ts';
import { asked, type ChannelWorld, channelWorld } from './running-agent.ts';

const HEARTBEAT = 'POST /leases';
const CONFIGURATION = 'GET /session/configuration';
const LONG = { timeout: 30_000, interval: 100 };
/**
 * Seconds between two leases, for tests that expect no renewal over HTTPS: if the machine stalls for one and a half of them, the channel
 * is silent and the agent falls back to HTTPS. SLOW is for tests that wait for no second lease.
 */
const STEADY = 3;
const SLOW = 15;

const lease = async ({ agent }: ChannelWorld) => (await agent.status()).lease;
const sessionId = async ({ agent }: ChannelWorld) => (await agent.status()).session.id;
const call = async ({ agent }: ChannelWorld) =>
  (await request((await agent.status()).services[0]!.address!, 8080, '/orders/1')).status;

/** Resolves when the channel has renewed the lease twice without a renewal over HTTPS. */
async function renewedByChannelAlone(w: ChannelWorld): Promise<void> {
  const beatsMeanwhile = async () => {
    const [beats, renewed] = [asked(w.broker, HEARTBEAT), w.control.renewed];
    await expect.poll(() => w.control.renewed, LONG).toBeGreaterThan(renewed + 1);
    return asked(w.broker, HEARTBEAT) - beats;
  };
  // Polls, because a renewal may be under way at first, or the machine may have stalled.
  await expect.poll(beatsMeanwhile, LONG).toBe(0);
}

test('while an edge renews the lease, no heartbeat goes over HTTPS, and a call is served', async () => {
  const w = await channelWorld({ heartbeatSeconds: STEADY });
  await expect.poll(() => w.control.renewed, LONG).toBeGreaterThan(1);
  expect(await lease(w)).toMatchObject({ by: 'channel', since: expect.any(Number) });
  expect(asked(w.broker, HEARTBEAT)).toBe(0);
  expect(asked(w.broker, CONFIGURATION)).toBe(1);
  expect(await call(w)).toBe(200);
});

test.each([600, -600])(
  'the channel renews the lease even if the clock of the workspace is wrong by %i seconds',
  async (skew) => {
    const w = await channelWorld({ skew, heartbeatSeconds: STEADY });
    await expect.poll(() => w.control.renewed, LONG).toBeGreaterThan(1);
    expect(await lease(w)).toMatchObject({ by: 'channel' });
    expect((await lease(w)).refused).toBeUndefined();
  },
);

test('without an edge the lease is renewed over HTTPS, and by the channel again as soon as there is one', async () => {
  const w = await channelWorld({ heartbeatSeconds: 2 });
  await expect.poll(async () => (await lease(w)).by, LONG).toBe('channel');
  const session = await sessionId(w);
  await w.stopEdge();
  await expect.poll(() => asked(w.broker, HEARTBEAT), LONG).toBeGreaterThan(1);
  expect(await lease(w)).toMatchObject({ by: 'https' });
  // A heartbeat announces a configuration that changed in the meantime.
  w.broker.configurationVersion += 1;
  await expect
    .poll(async () => (await w.agent.status()).configuration.version, LONG)
    .toBe(w.broker.configurationVersion);
  await w.startEdge();
  await expect.poll(async () => (await lease(w)).by, LONG).toBe('channel');
  await renewedByChannelAlone(w);
  expect(await sessionId(w)).toBe(session);
  expect(await call(w)).toBe(200);
});

test('each renewal over HTTPS has the channel try its edge once more, however long the channel would pause', async () => {
  const w = await channelWorld();
  await expect.poll(async () => (await lease(w)).by, LONG).toBe('channel');
  await w.stopEdge();
  let attempts = 0;
  const deaf = createServer((socket) => {
    // Envoy also tries.
    socket.once('data', (hello) => {
      if (hello.includes(CONTROL_ALPN)) attempts++;
      socket.destroy();
    });
    socket.on('error', () => {});
  });
  afterThisTest(() => new Promise<void>((resolve) => void deaf.close(() => resolve())));
  deaf.listen(w.broker.edge.port, '127.0.0.1');
  // The pauses of its own are longer than four renewals by now.
  await expect.poll(() => attempts, LONG).toBeGreaterThan(4);
  const [tried, beats] = [attempts, asked(w.broker, HEARTBEAT)];
  await expect.poll(() => attempts, LONG).toBeGreaterThan(tried + 3);
  expect(asked(w.broker, HEARTBEAT) - beats).toBeLessThan(10);
});

test('the agent still reports refusals over HTTPS, and the lease stays with the channel', async () => {
  const w = await channelWorld({ heartbeatSeconds: STEADY });
  await expect.poll(async () => (await lease(w)).by, LONG).toBe('channel');
  const { address } = (await w.agent.status()).services[0]!;
  expect((await request(address!, 8080, '/admin')).status).toBe(403);
  await expect.poll(() => w.broker.reports, LONG).toHaveLength(1);
  await renewedByChannelAlone(w);
  expect((await lease(w)).by).toBe('channel');
});

test('a new configuration arrives by the channel, and the agent does not request it over HTTPS', async () => {
  const w = await channelWorld({ heartbeatSeconds: SLOW });
  await expect.poll(async () => (await lease(w)).by, LONG).toBe('channel');
  w.broker.configurationVersion += 1;
  w.control.announce();
  await expect
    .poll(async () => (await w.agent.status()).configuration.version, LONG)
    .toBe(w.broker.configurationVersion);
  expect(asked(w.broker, CONFIGURATION)).toBe(1);
});

test('a configuration that breaks a rule of the workspace is refused, whichever way it came', async () => {
  const w = await channelWorld({ heartbeatSeconds: SLOW });
  await expect.poll(async () => (await lease(w)).by, LONG).toBe('channel');
  const { version } = (await w.agent.status()).configuration;
  w.broker.configurationVersion += 1;
  w.broker.spoilConfiguration = ({ clusters }) => {
    clusters[0]!.name = 'another-grant/outbound|8080||orders.shop.svc.cluster.local';
  };
  w.control.announce();
  await expect.poll(async () => (await w.agent.status()).configuration.refused.length, LONG).toBeGreaterThan(0);
  expect((await w.agent.status()).configuration.version).toBe(version);
  expect(await call(w)).toBe(200);
});

test("the agent learns of the session's end by the channel, and the next session has a channel of its own", async () => {
  const w = await channelWorld({ heartbeatSeconds: SLOW });
  await expect.poll(async () => (await lease(w)).by, LONG).toBe('channel');
  w.control.end(await sessionId(w), 'operator');
  await expect.poll(() => sessionId(w), LONG).toBe('ses-3');
  await expect.poll(async () => (await lease(w)).by, LONG).toBe('channel');
  expect(asked(w.broker, HEARTBEAT)).toBe(0);
  expect(await call(w)).toBe(200);
});

test('when the broker signs with another key, the agent requests its keys, and the channel continues', async () => {
  const w = await channelWorld({ heartbeatSeconds: STEADY });
  await expect.poll(async () => (await lease(w)).by, LONG).toBe('channel');
  await expect.poll(() => asked(w.broker, 'GET /services'), LONG).toBe(1);
  w.control.rotate();
  await expect.poll(() => asked(w.broker, 'GET /services'), LONG).toBeGreaterThan(1);
  await renewedByChannelAlone(w);
  expect(await lease(w)).toMatchObject({ by: 'channel' });
});

test('when the key of tokens has changed, the agent refuses a statement under the previous key, even if the edge sends no other', async () => {
  const w = await channelWorld({ heartbeatSeconds: STEADY, tokenLifetime: 8 });
  await expect.poll(async () => (await lease(w)).by, LONG).toBe('channel');
  await expect.poll(() => asked(w.broker, 'GET /services'), LONG).toBe(1);
  const session = await sessionId(w);
  w.control.steal();
  w.broker.tokenKey = 'next';
  // After half of the token's life, the agent requests another from the broker, as always.
  await expect.poll(() => asked(w.broker, 'GET /services'), LONG).toBeGreaterThan(1);
  w.control.lieAboutEnd(session);
  // The agent does not accept a lease either.
  await expect.poll(async () => (await lease(w)).by, LONG).toBe('https');
  expect(await sessionId(w)).toBe(session);
  expect(await call(w)).toBe(200);
});

describe('an edge that', () => {
  const saying = (code: string) => (honest: ControlBroker) => ({
    ...honest,
    renew: async (leases: Parameters<ControlBroker['renew']>[0]) =>
      leases.map(({ session_id }) => ({ session_id, error_code: code })),
  });
  const replaying = (honest: ControlBroker) => {
    const kept: LeaseAnswer[] = [];
    return {
      ...honest,
      renew: async (leases: Parameters<ControlBroker['renew']>[0]) => {
        if (kept.length === 0) kept.push(...(await honest.renew(leases)));
        return kept;
      },
    };
  };
  const withholding = (honest: ControlBroker) => ({ ...honest, renew: async () => [] });

  test.each([
    ['lies about the end of the session', saying('session_closed'), 'session_closed'],
    ['withholds every answer', withholding, undefined],
    ['replays an old answer', replaying, undefined],
  ])('%s ends nothing: the lease is renewed over HTTPS', async (_what, lie, code) => {
    const w = await channelWorld({ lie });
    const session = await sessionId(w);
    await expect.poll(() => asked(w.broker, HEARTBEAT), LONG).toBeGreaterThan(1);
    const { by, refused } = await lease(w);
    expect({ by, code: refused?.code }).toEqual({ by: 'https', code });
    expect(await sessionId(w)).toBe(session);
    expect(await call(w)).toBe(200);
  });

  test('withholds a configuration is detected, and the agent requests it over HTTPS', async () => {
    const lie = (honest: ControlBroker) => ({ ...honest, configuration: () => new Promise<never>(() => {}) });
    const w = await channelWorld({ lie });
    await expect.poll(async () => (await lease(w)).by, LONG).toBe('channel');
    w.broker.configurationVersion += 1;
    w.control.announce();
    await expect
      .poll(async () => (await w.agent.status()).configuration.version, LONG)
      .toBe(w.broker.configurationVersion);
    expect(asked(w.broker, CONFIGURATION)).toBeGreaterThan(1);
  });
});
