/** A lease across restarts: a broker that was away ends no session by that, and keeps none alive that is dead. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createLeases, leaseEndAfterOutage } from '../../src/core/session/leases.ts';
import type { Live } from '../../src/core/session/live.ts';
import { createLiveIndex } from '../../src/core/session/live.ts';
import {
  asSession,
  type Enrolled,
  type Harness,
  OPERATOR_TOKEN,
  renewLease,
  session,
  startHarness,
} from '../harness/broker.ts';
import { playJournal } from '../harness/journal.ts';
import { grant } from '../harness/mesh.ts';

const LEASE = 45;
const GRACE = 60;
const HEARTBEAT = 15;

describe('a session whose agent is silent', { timeout: 120_000 }, () => {
  let harness: Harness;
  let silent: Enrolled;
  beforeAll(async () => {
    harness = await startHarness();
    harness.mesh.setAccess([grant('payments-dev')]);
  });
  beforeEach(async () => {
    silent = await session(harness, 'silent');
  });
  afterAll(() => harness?.stop());

  const leaseOf = async (id: string): Promise<number | undefined> => {
    const headers = { authorization: `Bearer ${OPERATOR_TOKEN}` };
    const { json } = await harness.operatorCall({ path: `/admin/sessions?id=${id}`, headers });
    return (json as { sessions: { lease_expires_at: number }[] }).sessions[0]?.lease_expires_at;
  };
  /** A start takes its time. */
  const expectWhole = (given: number) => {
    expect(given - harness.now()).toBeLessThanOrEqual(LEASE + GRACE);
    expect(given - harness.now()).toBeGreaterThan(LEASE);
  };
  const expectEnded = async (who: Enrolled) => {
    expect((await renewLease(harness, who)).kind).not.toBe('lease');
    const refused = await asSession(harness, who, { path: '/services' });
    expect(refused).toMatchObject({ status: 401, json: { error_code: 'session_closed' } });
  };

  it('gets a lease and a grace from the first restart, and nothing more from the next', async () => {
    await harness.restart();
    const given = (await leaseOf(silent.session.id))!;
    expectWhole(given);
    harness.clockAhead += 50_000;
    await harness.restart();
    expect(await leaseOf(silent.session.id)).toBe(given);
    // So late that its agent could not speak before the end: it gets the time for that.
    harness.clockAhead = given * 1000 - Date.now() - 1_000;
    await harness.restart();
    const last = (await leaseOf(silent.session.id))!;
    expect(last - harness.now()).toBeLessThanOrEqual(2 * HEARTBEAT);
    harness.clockAhead = last * 1000 - Date.now();
    await expectEnded(silent);
  });

  it('is full again at the next restart once its agent has renewed it', async () => {
    await harness.restart();
    const given = (await leaseOf(silent.session.id))!;
    harness.clockAhead += 70_000;
    expect(await renewLease(harness, silent)).toMatchObject({ kind: 'lease' });
    await harness.restart();
    const again = (await leaseOf(silent.session.id))!;
    expect(again).toBeGreaterThan(given);
    expectWhole(again);
  });

  it('ends at the second at which its lease ends, not one later', async () => {
    const end = (await leaseOf(silent.session.id))!;
    harness.clockAhead = (end - 1) * 1000 - Date.now();
    expect(await leaseOf(silent.session.id)).toBe(end);
    harness.clockAhead = end * 1000 - Date.now();
    await expectEnded(silent);
  });
});

it('an intermittent store lengthens a lease once', () => {
  let now = 1_000_000;
  let holdsAgain = () => {};
  const live = createLiveIndex();
  const one = {
    session: { id: 'one', tokenHash: 'hash', attestation: { workspace: { key: 'workspace' } } },
    leaseUntil: now + LEASE,
    awaitingHeartbeat: false,
  } as Live;
  live.add(one);
  const store = {
    onLeaderAgain: (listener: () => void) => {
      holdsAgain = listener;
    },
  };
  createLeases({
    store,
    journal: playJournal(async () => expect.fail('nothing to write')),
    live,
    clock: () => now * 1000,
    onFailure: (cause) => expect.fail(String(cause)),
    config: { leaseSeconds: LEASE, restartGraceSeconds: GRACE, heartbeatSeconds: HEARTBEAT },
  });
  holdsAgain();
  expect(one.leaseUntil).toBe(now + LEASE + GRACE);
  for (let again = 0; again < 10; again++) {
    now += 5;
    holdsAgain();
  }
  expect(one.leaseUntil).toBe(1_000_000 + LEASE + GRACE);
});

it('allows ten thousand sessions that return at once the time that a broker needs to renew all of them', () => {
  const terms = { leaseSeconds: LEASE, restartGraceSeconds: GRACE, heartbeatSeconds: HEARTBEAT };
  expect(leaseEndAfterOutage(1_000, terms, 59, undefined)).toBe(1_000 + LEASE + GRACE);
  expect(leaseEndAfterOutage(1_000, terms, 10_000, undefined)).toBe(1_000 + LEASE + GRACE + 166);
  // An agent that had it gets only the time to respond.
  expect(leaseEndAfterOutage(1_000, terms, 10_000, 1_005)).toBe(1_000 + 2 * HEARTBEAT);
});
