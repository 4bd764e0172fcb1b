/** Leases and limits, looked at four times a second; and what has been forgotten long enough. */
import { sql } from 'kysely';
import { deleteOldLosses } from '../attest/github/stored-losses.ts';
import { seconds, timestamp } from '../clock/clock.ts';
import type { Revoker } from '../reconcile/contract.ts';
import type { Store } from '../store/open.ts';
import type { GainQueue } from './gain/queue.ts';
import { closeSession } from './lifecycle.ts';
import type { Live } from './live.ts';
import { endPassedGrants, type RecheckContext } from './recheck.ts';

const SWEEP_MS = 250;
const MAINTAIN_MS = 60_000;

export interface SweepContext extends RecheckContext {
  /** Ends sign-ins whose time has passed. */
  readonly sweepSignIns: () => void;
  readonly store: Store;
  readonly revoker: Pick<Revoker, 'collectOrphans'>;
  readonly gains: Pick<GainQueue, 'add'>;
}

/** @returns stops it */
export function startSweeping(context: SweepContext): () => void {
  const { store } = context;
  const sweeping = setInterval(() => {
    if (!store.isLeader()) return;
    sweepSessions(context, (live) => context.gains.add(live, 'access_widened'));
    context.sweepSignIns();
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
 * Ends the sessions whose lease has lapsed or whose limit has passed, and single grants at theirs.
 * @param onPassed told of a session that lost a grant so: what was given for a time may be given by the access file meanwhile
 */
export function sweepSessions(context: RecheckContext, onPassed: (live: Live) => void = () => {}): void {
  const now = seconds(context.clock);
  // Ending one takes it out of the map, which a walk through a map allows.
  for (const live of context.live.all()) {
    const { session } = live;
    if (session.expiresAt <= now) void closeSession(context, live, { cause: 'expired' });
    else if (live.leaseUntil <= now) void closeSession(context, live, { cause: 'lease_lapsed' });
    else if (session.grants.some((grant) => grant.until <= now)) {
      void endPassedGrants(context, live);
      onPassed(live);
    }
  }
}

async function maintain(context: SweepContext): Promise<void> {
  const { live, mesh, revoker, store } = context;
  try {
    const now = timestamp(seconds(context.clock));
    await sql`delete from proof_replay where expires_at < ${now}::timestamptz`.execute(store.db);
    await deleteOldLosses(store, seconds(context.clock));
    await store.maintain();
    const spiffeIds = [...live.all()].flatMap(({ session }) => session.principals.map(({ spiffeId }) => spiffeId));
    if (mesh.inForce()) await revoker.collectOrphans(new Set(spiffeIds));
  } catch (thrown) {
    context.onFailure(thrown);
  }
}
