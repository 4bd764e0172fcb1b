/**
 * Keeps leases in memory, so that heartbeats do not write to the store. After an outage, the broker cannot know which
 * agents were silent, so it renews every lease with a grace period, but only once. If the broker restarts again before
 * a session has sent a heartbeat, the session keeps its lease end, except that its agent always gets enough time to
 * send a heartbeat. So repeated restarts or an unstable store cannot keep a dead session alive.
 */
import { type Journal, retryUntilStored } from '../../audit/index.ts';
import { type Clock, timestamp, toUnixSeconds } from '../../base/index.ts';
import type { Store } from '../../store/index.ts';
import { END_GRACE } from '../statements.ts';
import type { Live, LiveIndex } from './live.ts';

/** Lease and heartbeat durations, seconds. */
export interface LeaseTerms {
  readonly leaseSeconds: number;
  readonly restartGraceSeconds: number;
  readonly heartbeatSeconds: number;
}

/**
 * Renews a session's lease after a heartbeat from its agent. The store records which sessions have sent a heartbeat
 * since the restart.
 * @param saidAt time of the heartbeat, Unix seconds
 */
export type RenewLease = (live: Live, saidAt: number) => void;

export interface LeaseContext {
  readonly journal: Journal;
  /** Called when a write to the store fails. The write is then retried. */
  readonly onFailure: (cause: unknown) => void;
  readonly store: Pick<Store, 'onLeaderAgain'>;
  readonly live: LiveIndex;
  readonly clock: Clock;
  readonly terms: LeaseTerms;
}

/** Number of heartbeat intervals that an agent gets to report back after an outage. */
const BEATS_TO_SPEAK = 2;

/** Minimum rate at which the broker serves returning agents, per second. istiod can sign certificates at this rate. */
const RETURNING_PER_SECOND = 60;

/**
 * Returns when a lease ends that could not be renewed because of an outage, Unix seconds.
 * @param sessions number of sessions that are restored together. All of them need time to send a heartbeat.
 * @param givenBefore lease end that was set after the previous outage, Unix seconds; undefined if the session has sent
 *   a heartbeat since then
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

/** Creates the function that renews leases. Leases are also extended when the broker regains its leadership. */
export function createLeases(context: LeaseContext): RenewLease {
  const { store, live, clock, terms } = context;
  // Extend all leases, because agents could not renew them while the broker's leadership was uncertain.
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

/** Records for the next broker process that all open sessions have received their grace period. */
export async function recordGracePeriod(store: Store, until: number): Promise<void> {
  await store.db
    .updateTable('sessions')
    .set({ graced_until: timestamp(until) })
    .where('closed_at', 'is', null)
    .where('graced_until', 'is', null)
    .execute();
}
