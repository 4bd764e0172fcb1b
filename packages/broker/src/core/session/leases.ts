/**
 * Keeps leases in memory, so heartbeats write nothing. After an absence the broker cannot know which agents were
 * silent, so it renews every lease with a grace period, but only once. Through further restarts, a session without a
 * heartbeat since then keeps the same lease end, plus the time that an agent needs for a heartbeat. Repeated restarts
 * or an unstable store therefore cannot keep a dead session alive.
 */
import { type Journal, retryUntilStored } from '../../audit/index.ts';
import { type Clock, timestamp, toUnixSeconds } from '../../base/index.ts';
import type { Store } from '../../store/index.ts';
import { END_GRACE } from '../statements.ts';
import type { Live, LiveIndex } from './live.ts';

/** Lease and heartbeat durations. */
export interface LeaseTerms {
  /** Seconds. */
  readonly leaseSeconds: number;
  readonly restartGraceSeconds: number;
  readonly heartbeatSeconds: number;
}

/**
 * Renews a session's lease after a sign of life from its agent. The store records which sessions had one since the
 * restart.
 * @param saidAt time of the sign of life, Unix seconds
 */
export type RenewLease = (live: Live, saidAt: number) => void;

export interface LeaseContext {
  readonly journal: Journal;
  /** Receives failures of the store, after which the write is retried. */
  readonly onFailure: (cause: unknown) => void;
  readonly store: Pick<Store, 'onLeaderAgain'>;
  readonly live: LiveIndex;
  readonly clock: Clock;
  readonly terms: LeaseTerms;
}

/** Heartbeats that an agent may miss when the broker comes back. */
const BEATS_TO_SPEAK = 2;

/** Minimum rate at which the broker serves returning agents, per second. istiod signs at least as many certificates. */
const RETURNING_PER_SECOND = 60;

/**
 * Returns the new end of a lease that the broker could not renew for a while, Unix seconds.
 * @param sessions number of sessions restored with it; each needs a turn for its heartbeat
 * @param givenBefore end granted after the previous absence, if no heartbeat came since, Unix seconds
 */
export function leaseEndAfterOutage(
  now: number,
  terms: LeaseTerms,
  sessions: number,
  givenBefore: number | undefined,
): number {
  if (givenBefore === undefined)
    return now + terms.leaseSeconds + terms.restartGraceSeconds + Math.floor(sessions / RETURNING_PER_SECOND);
  return Math.max(givenBefore, now + BEATS_TO_SPEAK * terms.heartbeatSeconds);
}

/** Creates the leases of an index of live sessions. */
export function createLeases(context: LeaseContext): RenewLease {
  const { store, live, clock, terms } = context;
  // Extends all leases, because agents could not renew them while the broker's leadership was uncertain.
  store.onLeaderAgain(() => {
    const all = [...live.all()];
    for (const one of all) {
      const given = one.awaitingHeartbeat ? one.leaseUntil : undefined;
      one.leaseUntil = Math.max(one.leaseUntil, leaseEndAfterOutage(toUnixSeconds(clock), terms, all.length, given));
      one.awaitingHeartbeat = true;
    }
  });
  return (one, saidAt) => {
    one.leaseUntil = Math.max(one.leaseUntil, saidAt + terms.leaseSeconds);
    if (!one.awaitingHeartbeat) return;
    one.awaitingHeartbeat = false;
    void retryUntilStored(context, (tx) => tx.write(END_GRACE, one.session.id));
  };
}

/** Records in the store which sessions have received a grace period, for the next broker process. */
export async function recordGracePeriod(store: Store, until: number): Promise<void> {
  await store.db
    .updateTable('sessions')
    .set({ graced_until: timestamp(until) })
    .where('closed_at', 'is', null)
    .where('graced_until', 'is', null)
    .execute();
}
