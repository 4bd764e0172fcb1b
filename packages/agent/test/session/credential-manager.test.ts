import { MeshpassError } from '@meshpass/identity';
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

const session = { id: 'one', grants: [], heartbeat_seconds: HEARTBEAT };
const opening = (token: string) => ({ access_token: token, session, mesh: { roots: [] }, services: [] });

/**
 * Creates a manager without a control channel, with a broker that opens a session and issues a token.
 * @param heartbeat renews the lease of the session with this token, and returns the version of its services
 * @param more further methods of the broker's client
 */
function keeperOf(heartbeat: (token: string) => Promise<string | undefined>, more: object = {}): CredentialManager {
  const client = {
    brokerNow: Date.now(),
    openSession: async () => opening('mps'),
    token: async () => ({ access_token: 'a.b.c', expires_in: 86_400 }),
    goodbye: async () => {},
    close: () => {},
    ...more,
  };
  const keeper: CredentialManager = new CredentialManager({
    client: client as unknown as BrokerClient,
    source: { kind: 'file', proof: async () => ({ type: 'oidc', token: 'proof' }) },
    now: Date.now,
    random: () => 0.999,
    onChange: (what) => {
      if (what === 'session') setTimeout(() => keeper.channelSilent('one'), HEARTBEAT * 1000);
    },
    fetchConfiguration: async () => {},
    renewLease: async () => {
      const version = await heartbeat(keeper.credentials.accessToken);
      const times = { at: 0, lease_expires_at: 0, expires_at: 0 };
      const lease = { kind: 'lease' as const, sid: 'one', seq: 1, set: '', ...times };
      keeper.leaseRenewed('one', { ...lease, ...(version !== undefined && { services_version: version }) }, 'https');
    },
    log: () => {},
    report: new RefusalReport(),
  });
  return keeper;
}

test('retries the lease at least as often as renewals while the broker is unavailable', async () => {
  const beats: number[] = [];
  const keeper = keeperOf(async () => {
    beats.push(Date.now());
    throw new MeshpassError('agent_broker_unreachable', 'It does not answer.');
  });
  await keeper.start();
  await vi.advanceTimersByTimeAsync(10 * 60_000);
  await keeper.close();
  expect(beats.length).toBeGreaterThan(30);
  const gaps = beats.slice(1).map((at, n) => at - beats[n]!);
  expect(Math.max(...gaps)).toBeLessThanOrEqual(HEARTBEAT * 1000);
});

test('retries with a single task while the broker is unavailable, and runs the others after its success', async () => {
  const calls: { readonly what: string; readonly at: number }[] = [];
  const start = Date.now();
  let isAway = false;
  const answer = (what: string) => async () => {
    calls.push({ what, at: Date.now() - start });
    if (isAway) throw new MeshpassError('agent_broker_unreachable', 'It does not answer.');
    return undefined;
  };
  const renewal = answer('token');
  const keeper = keeperOf(answer('heartbeat'), {
    token: async () => (await renewal()) ?? { access_token: 'a.b.c', expires_in: 60 },
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

test('retries more frequently as expiry approaches, to reach an intermittent broker in time', async () => {
  const life = 300_000;
  const asked: number[] = [];
  const start = Date.now();
  const keeper = keeperOf(async () => undefined, {
    token: async () => {
      asked.push(Date.now() - start);
      if (asked.length > 1) throw new MeshpassError('store_unavailable', 'Not now.');
      return { access_token: 'a.b.c', expires_in: life / 1000 };
    },
  });
  await keeper.start();
  await vi.advanceTimersByTimeAsync(life);
  await keeper.close();
  for (const rest of [120_000, 60_000, 20_000, 8_000]) {
    const next = asked.find((at) => at >= life - rest)!;
    expect(next - (life - rest), `${rest} ms before its end`).toBeLessThanOrEqual(Math.min(30_000, rest / 3));
  }
});

test('opens a single new session if two tasks fail because the session has ended', async () => {
  let opened = 0;
  const gone = () => new MeshpassError('session_closed', 'It is over.');
  const late = Promise.withResolvers<never>();
  const heartbeat = async (token: string) => {
    if (token !== 'mps-1') return undefined;
    beats += 1;
    if (beats === 1) return '2';
    throw gone();
  };
  const keeper = keeperOf(heartbeat, {
    openSession: async () => {
      opened += 1;
      // The request under the previous session is answered after the new one has been opened.
      if (opened === 2) setTimeout(() => late.reject(gone()), 5_000);
      return opening(`mps-${opened}`);
    },
    services: () => late.promise,
  });
  let beats = 0;
  await keeper.start();
  await vi.advanceTimersByTimeAsync(5 * 60_000);
  await keeper.close();
  expect(opened).toBe(2);
});

test('opens one new session within seconds after a failure, and ignores the notice that the previous one was replaced', async () => {
  const opened: number[] = [];
  const heartbeat = async (token: string) => {
    if (token === 'mps-1') throw new MeshpassError('session_unknown', 'It is not known.');
    return undefined;
  };
  const keeper = keeperOf(heartbeat, {
    openSession: async () => {
      opened.push(Date.now());
      if (opened.length === 2) throw new MeshpassError('agent_broker_unreachable', 'It does not answer.');
      if (opened.length > 2)
        keeper.sessionEnded('one', { cause: 'replaced', reason: 'its workspace opened a new one' });
      return opening(`mps-${opened.length}`);
    },
  });
  await keeper.start();
  await vi.advanceTimersByTimeAsync(5 * 60_000);
  await keeper.close();
  expect(opened).toHaveLength(3);
  expect(opened[2]! - opened[1]!).toBeLessThanOrEqual(1_000);
});
