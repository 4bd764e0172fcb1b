/**
 * Keeps leases in memory, so that heartbeats do not have to be written to the store. After an outage, the broker cannot
 * tell which agents were silent, so it extends every lease by a grace period, but only once. If the broker restarts
 * again before a session has sent a heartbeat, the lease is not extended again, except that the agent always gets
 * enough time to send a heartbeat. Repeated restarts or an unstable store therefore cannot keep a dead session alive.
 */
import { retryUntilStored } from '../../audit/index.ts';
import { timestamp, toUnixSeconds } from '../../base/index.ts';
import type { Store } from '../../store/index.ts';
import { END_GRACE } from '../session-sql.ts';
import type { SessionConfig, SessionContext } from './context.ts';
import type { Live } from './live.ts';

/** The durations of leases and heartbeats. */
type LeaseTerms = Pick<SessionConfig, 'leaseSeconds' | 'restartGraceSeconds' | 'heartbeatSeconds'>;

interface LeaseContext extends Pick<SessionContext, 'journal' | 'live' | 'clock' | 'onFailure'> {
  readonly store: Pick<Store, 'onLeaderAgain'>;
  readonly config: LeaseTerms;
}

/** The number of heartbeat intervals that an agent has to report back after an outage. */
const BEATS_TO_SPEAK = 2;

/**
 * The number of returning agents per second that the broker can always serve, because istiod can sign certificates at
 * this rate.
 */
const RETURNING_PER_SECOND = 60;

/**
 * Returns the new end of a lease that could not be renewed during an outage, in Unix seconds.
 * @param sessions the number of sessions that are restored at the same time. All of them need time to send a heartbeat.
 * @param givenBefore the lease end that was set after the previous outage, in Unix seconds, or undefined if the session
 *   has sent a heartbeat since then
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

/** Creates the function that renews leases. Leases are also extended whenever this broker becomes the leader again. */
export function createLeases(context: LeaseContext) {
  const { store, live, clock, config: terms } = context;
  // Extend all leases, because agents could not renew them while it was uncertain whether this broker was the leader.
  store.onLeaderAgain(() => {
    const all = [...live.all()];
    for (const one of all) {
      const given = one.awaitingHeartbeat ? one.leaseUntil : undefined;
      one.leaseUntil = Math.max(one.leaseUntil, leaseEndAfterOutage(toUnixSeconds(clock), terms, all.length, given));
      one.awaitingHeartbeat = true;
    }
  });
  /**
   * Renews a session's lease after a heartbeat from its agent. The store records which sessions have sent a heartbeat
   * since the last restart.
   * @param saidAt the time of the heartbeat, in Unix seconds
   */
  return (one: Live, saidAt: number): void => {
    one.leaseUntil = Math.max(one.leaseUntil, saidAt + terms.leaseSeconds);
    if (!one.awaitingHeartbeat) return;
    one.awaitingHeartbeat = false;
    void retryUntilStored(context, (tx) => tx.write(END_GRACE, one.session.id));
  };
}

/**
 * Records that all open sessions have received their grace period, so that the next broker process does not grant it
 * again.
 */
export async function recordGracePeriod(store: Store, until: number): Promise<void> {
  await store.db
    .updateTable('sessions')
    .set({ graced_until: timestamp(until) })
    .where('closed_at', 'is', null)
    .where('graced_until', 'is', null)
    .execute();
}
