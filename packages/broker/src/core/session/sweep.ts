/** Ends sessions whose lease has lapsed, removes grants that have reached their time limit, and deletes old records. */
import { sql } from 'kysely';
import { deleteOldLosses } from '../../attest/index.ts';
import { timestamp, toUnixSeconds } from '../../base/index.ts';
import { sweepSignIns } from '../sign-in/sign-in.ts';
import type { SessionContext } from './context.ts';
import type { GainQueue } from './gain/queue.ts';
import { closeSession } from './lifecycle.ts';
import { touch } from './touch.ts';

const SWEEP_MS = 250;
const MAINTAIN_MS = 60_000;

/**
 * Starts the periodic session sweep and store maintenance.
 * @returns a function that stops both
 */
export function startSessionSweep(context: SessionContext, gains: Pick<GainQueue, 'add'>): () => void {
  const { store } = context;
  const sweeping = setInterval(() => {
    if (!store.isLeader()) return;
    sweepSessions(context, gains);
    sweepSignIns(context);
  }, SWEEP_MS);
  const maintaining = setInterval(() => maintain(context), MAINTAIN_MS);
  sweeping.unref();
  maintaining.unref();
  return () => {
    clearInterval(sweeping);
    clearInterval(maintaining);
  };
}

/**
 * Closes sessions whose lease has lapsed or whose last grant has ended, and removes individual grants that have reached
 * their time limit.
 * @param gains receives each live session that lost a grant at its time limit, because the access file may now allow
 *   that grant without an approval
 */
function sweepSessions(context: SessionContext, gains: Pick<GainQueue, 'add'>): void {
  const now = toUnixSeconds(context.clock);
  // Closing a session deletes it from the map, which is safe during iteration.
  for (const live of context.live.all()) {
    const { session } = live;
    if (session.principals.some(({ until }) => until <= now)) {
      void touch(context, live);
      if (!live.ended) gains.add(live);
    }
    if (live.leaseUntil <= now) void closeSession(context, live, { cause: 'lease_lapsed' });
  }
}

async function maintain(context: SessionContext): Promise<void> {
  const { live, mesh, revoker, store } = context;
  try {
    const now = timestamp(toUnixSeconds(context.clock));
    await sql`delete from proof_replay where expires_at < ${now}::timestamptz`.execute(store.db);
    await deleteOldLosses(store, toUnixSeconds(context.clock));
    await store.maintain();
    const spiffeIds = [...live.all()].flatMap(({ session }) => session.principals.map(({ spiffeId }) => spiffeId));
    if (mesh.inForce()) await revoker.collectOrphans(new Set(spiffeIds));
  } catch (thrown) {
    context.onFailure(thrown);
  }
}
