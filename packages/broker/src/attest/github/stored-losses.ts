/** What was lost is kept in the store, so that the broker after this one believes no server of GitHub's that does not know it yet. */
import { setTimeout as sleep } from 'node:timers/promises';
import { sql } from 'kysely';
import { timestamp } from '../../clock/clock.ts';
import type { Store } from '../../store/open.ts';
import { LOSS_SECONDS, type Losses, type StoredLoss } from './losses.ts';

const RETRY_MS = 1_000;

export interface LossWriter {
  /** Writes what is not in the store yet, in one try more where the store is away, and then nothing any more. */
  readonly stop: () => Promise<void>;
}

/** Takes over what is in the store, and writes there what is learnt from now on; a store that is away gets it when it is back. */
export async function persistLosses(
  store: Store,
  losses: Losses,
  onFailure: (cause: unknown) => void,
): Promise<LossWriter> {
  const rows = await store.db.selectFrom('losses').selectAll().execute();
  losses.recall(rows.map(({ fact, learnt_at }) => ({ fact, at: Math.floor(learnt_at.getTime() / 1000) })));
  // A process that does not know whether it is the active one may have missed what another has learnt.
  store.onLeaderAgain(losses.doubtAll);
  let waiting = new Map<string, StoredLoss>();
  let writing: Promise<void> | undefined;
  const stopping = new AbortController();
  const write = async () => {
    while (waiting.size > 0) {
      const batch = waiting;
      waiting = new Map();
      const isLastTry = stopping.signal.aborted;
      try {
        await insert(store, [...batch.values()]);
      } catch (thrown) {
        onFailure(thrown);
        if (isLastTry) break;
        waiting = new Map([...batch, ...waiting]);
        await pause(stopping.signal);
      }
    }
    // In the same turn as the last look: what comes now begins anew.
    writing = undefined;
  };
  losses.onLoss((loss) => {
    if (stopping.signal.aborted) return;
    waiting.set(loss.fact, loss);
    writing ??= write();
  });
  return {
    stop: async () => {
      stopping.abort();
      await writing;
    },
  };
}

/** Until the next try; cut short when it is the last. */
function pause(signal: AbortSignal): Promise<void> {
  return sleep(RETRY_MS, undefined, { ref: false, signal }).catch(() => {});
}

async function insert(store: Store, losses: readonly StoredLoss[]): Promise<void> {
  const rows = JSON.stringify(losses.map(({ fact, at }) => ({ fact, learnt_at: timestamp(at) })));
  await sql`
    insert into losses
    select * from jsonb_to_recordset(${rows}::jsonb) x (fact text, learnt_at timestamptz)
    where exists (select from broker_epoch where epoch = ${store.epoch})
    on conflict (fact) do update set learnt_at = excluded.learnt_at`.execute(store.db);
}

/** Forgets what no session can stand on any more. @param now Unix seconds */
export async function deleteOldLosses(store: Store, now: number): Promise<void> {
  await sql`delete from losses where learnt_at < ${timestamp(now - LOSS_SECONDS)}::timestamptz`.execute(store.db);
}
