import { MeshpassError } from '@meshpass/identity/error';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { RefusalReport } from '../../src/access-log/report.ts';
import type { BrokerClient } from '../../src/session/broker-client.ts';
import { CredentialManager } from '../../src/session/credential-manager.ts';

const HEARTBEAT = 15;

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const session = { id: 'one', grants: [], heartbeat_seconds: HEARTBEAT, lease_seconds: 45 };
const opening = (token: string) => ({ access_token: token, session, mesh: { roots: [] }, services: [] });

/** With a broker that opens a session and gives a token, and of which `more` says what else it does. */
function keeperOf(more: object): CredentialManager {
  const client = {
    brokerNow: Date.now(),
    openSession: async () => opening('mps'),
    token: async () => ({ access_token: 'a.b.c', expires_in: 86_400 }),
    goodbye: async () => {},
    close: () => {},
    ...more,
  };
  return new CredentialManager({
    client: client as unknown as BrokerClient,
    source: { kind: 'file', proof: async () => ({ type: 'oidc', token: 'proof' }) },
    ...{ now: Date.now, random: () => 0.999, onChange: () => {}, log: () => {}, report: new RefusalReport() },
  });
}

test('while the broker is away, the lease is tried no more seldom than it would be renewed', async () => {
  const beats: number[] = [];
  const keeper = keeperOf({
    heartbeat: async () => {
      beats.push(Date.now());
      throw new MeshpassError('agent_broker_unreachable', 'It does not answer.');
    },
  });
  await keeper.start();
  await vi.advanceTimersByTimeAsync(10 * 60_000);
  await keeper.close();
  expect(beats.length).toBeGreaterThan(30);
  const gaps = beats.slice(1).map((at, n) => at - beats[n]!);
  expect(Math.max(...gaps)).toBeLessThanOrEqual(HEARTBEAT * 1000);
});

test('while the broker is away one task asks whether it is back, and the others follow at once', async () => {
  const calls: { readonly what: string; readonly at: number }[] = [];
  const start = Date.now();
  let isAway = false;
  const answer = (what: string, value: object) => async () => {
    calls.push({ what, at: Date.now() - start });
    if (isAway) throw new MeshpassError('agent_broker_unreachable', 'It does not answer.');
    return value;
  };
  const keeper = keeperOf({
    token: answer('token', { access_token: 'a.b.c', expires_in: 60 }),
    heartbeat: answer('heartbeat', { lease_expires_at: 0 }),
  });
  await keeper.start();
  isAway = true;
  await vi.advanceTimersByTimeAsync(10 * 60_000);
  const during = calls.splice(0).filter(({ at }) => at > 120_000);
  const tokens = during.filter(({ what }) => what === 'token').length;
  expect(during.length - tokens).toBeGreaterThan(25);
  expect(tokens).toBeLessThan(20);
  isAway = false;
  await vi.advanceTimersByTimeAsync((HEARTBEAT + 1) * 1000);
  await keeper.close();
  const [beat, token] = calls;
  expect([beat!.what, token!.what]).toEqual(['heartbeat', 'token']);
  expect(token!.at - beat!.at).toBeLessThanOrEqual(1_000);
});

test('what is about to expire is asked for more and more often, so that a broker that comes and goes is met in time', async () => {
  const life = 300_000;
  const asked: number[] = [];
  const start = Date.now();
  const keeper = keeperOf({
    token: async () => {
      asked.push(Date.now() - start);
      if (asked.length > 1) throw new MeshpassError('store_unavailable', 'Not now.');
      return { access_token: 'a.b.c', expires_in: life / 1000 };
    },
    heartbeat: async () => ({ lease_expires_at: 0 }),
  });
  await keeper.start();
  await vi.advanceTimersByTimeAsync(life);
  await keeper.close();
  for (const rest of [120_000, 60_000, 20_000, 8_000]) {
    const next = asked.find((at) => at >= life - rest)!;
    expect(next - (life - rest), `${rest} ms before its end`).toBeLessThanOrEqual(Math.min(30_000, rest / 3));
  }
});

test('where two tasks are told that the session is gone, one new session is asked for', async () => {
  let opened = 0;
  const gone = () => new MeshpassError('session_closed', 'It is over.');
  const late = Promise.withResolvers<never>();
  const keeper = keeperOf({
    openSession: async () => {
      opened += 1;
      // What is under way under the former session is answered when the new one has been opened.
      if (opened === 2) setTimeout(() => late.reject(gone()), 5_000);
      return opening(`mps-${opened}`);
    },
    services: () => late.promise,
    heartbeat: async (token: string) => {
      if (token !== 'mps-1') return { lease_expires_at: 0, services_version: undefined };
      beats += 1;
      if (beats === 1) return { lease_expires_at: 0, services_version: '2' };
      throw gone();
    },
  });
  let beats = 0;
  await keeper.start();
  await vi.advanceTimersByTimeAsync(5 * 60_000);
  await keeper.close();
  expect(opened).toBe(2);
});

test('a session that is gone is asked for anew within seconds of a failure, and once: the notice that it was replaced is about the former one', async () => {
  const opened: number[] = [];
  const keeper = keeperOf({
    openSession: async () => {
      opened.push(Date.now());
      if (opened.length === 2) throw new MeshpassError('agent_broker_unreachable', 'It does not answer.');
      if (opened.length > 2)
        keeper.sessionEnded('one', { cause: 'replaced', reason: 'its workspace opened a new one' });
      return opening(`mps-${opened.length}`);
    },
    heartbeat: async (token: string) => {
      if (token === 'mps-1') throw new MeshpassError('session_unknown', 'It is not known.');
      return { lease_expires_at: 0 };
    },
  });
  await keeper.start();
  await vi.advanceTimersByTimeAsync(5 * 60_000);
  await keeper.close();
  expect(opened).toHaveLength(3);
  expect(opened[2]! - opened[1]!).toBeLessThanOrEqual(1_000);
});
