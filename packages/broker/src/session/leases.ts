/**
 * Leases live in memory: a heartbeat writes nothing. A broker that was away therefore does not know who has been silent, and gives
 * every lease anew with a grace on top. It does so once: a session that has had this and has not been heard since then keeps the
 * end that it was given, through every further restart, but for the time that an agent needs to speak. So neither a broker that
 * is killed again and again nor a store that comes and goes keeps a dead session alive.
 */
import { sql } from 'kysely';
import { type Clock, seconds, timestamp } from '../clock/clock.ts';
import type { Store } from '../store/open.ts';
import type { Live, LiveIndex } from './live.ts';

export interface LeaseTerms {
  /** Seconds. */
  readonly leaseSeconds: number;
  readonly restartGraceSeconds: number;
  readonly heartbeatSeconds: number;
}

export interface Leases {
  /**
   * The session's agent has been heard.
   * @param saidAt when it spoke, Unix seconds; absent: now
   */
  readonly renew: (live: Live, saidAt?: number) => void;
  /** Writes down who has been heard since the restart. */
  readonly stop: () => Promise<void>;
}

export interface LeaseContext {
  readonly store: Store;
  readonly live: LiveIndex;
  readonly clock: Clock;
  readonly terms: LeaseTerms;
  readonly onFailure: (cause: unknown) => void;
}

/** Who is heard for the first time after a restart is written down with the others of that moment. */
const GATHER_MS = 500;
const RETRY_MS = 5_000;
/** Heartbeats that an agent may miss when the broker comes back. */
const BEATS_TO_SPEAK = 2;

/** Agents that a broker certainly gets round to in a second when all come back at once: istiod signs no fewer. */
const RETURNING_PER_SECOND = 60;

/**
 * @param sessions that were restored with it: each needs its turn to speak
 * @returns when a lease ends that the broker could not renew for a while, Unix seconds
 */
export function leaseAfterAbsence(
  now: number,
  terms: LeaseTerms,
  sessions: number,
  givenBefore: number | undefined,
): number {
  if (givenBefore === undefined)
    return now + terms.leaseSeconds + terms.restartGraceSeconds + Math.floor(sessions / RETURNING_PER_SECOND);
  return Math.max(givenBefore, now + BEATS_TO_SPEAK * terms.heartbeatSeconds);
}

export function createLeases({ store, live, clock, terms, onFailure }: LeaseContext): Leases {
  let heard: string[] = [];
  let timer: NodeJS.Timeout | undefined;
  let writing: Promise<void> = Promise.resolve();

  const write = async (): Promise<void> => {
    timer = undefined;
    const ids = heard;
    heard = [];
    if (ids.length === 0) return;
    try {
      await sql`
        update sessions set graced_until = null
        where graced_until is not null and id in (select jsonb_array_elements_text(${JSON.stringify(ids)}::jsonb))
        and exists (select from broker_epoch where epoch = ${store.epoch})`.execute(store.db);
    } catch (thrown) {
      onFailure(thrown);
      heard.push(...ids);
      soon(RETRY_MS);
    }
  };
  const soon = (ms: number) => {
    timer ??= setTimeout(() => {
      writing = writing.then(write);
    }, ms).unref();
  };
  // A broker that serves nobody because it cannot tell whether it is the active one lets no lease lapse by that.
  store.onLeaderAgain(() => {
    const all = [...live.all()];
    for (const one of all) {
      const given = one.awaitingHeartbeat ? one.leaseUntil : undefined;
      one.leaseUntil = Math.max(one.leaseUntil, leaseAfterAbsence(seconds(clock), terms, all.length, given));
      one.awaitingHeartbeat = true;
    }
  });
  return {
    renew: (one, saidAt = seconds(clock)) => {
      one.leaseUntil = Math.max(one.leaseUntil, saidAt + terms.leaseSeconds);
      if (!one.awaitingHeartbeat) return;
      one.awaitingHeartbeat = false;
      heard.push(one.session.id);
      soon(GATHER_MS);
    },
    stop: async () => {
      clearTimeout(timer);
      await writing;
      await write();
      clearTimeout(timer);
    },
  };
}

/** Remembers which sessions have been given a lease with grace, for the process after this one. */
export async function rememberGrace(store: Store, until: number): Promise<void> {
  await store.db
    .updateTable('sessions')
    .set({ graced_until: timestamp(until) })
    .where('closed_at', 'is', null)
    .where('graced_until', 'is', null)
    .execute();
}
