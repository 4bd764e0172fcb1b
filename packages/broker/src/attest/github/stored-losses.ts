/** Stores losses, so that the next active broker does not trust a GitHub server that lags behind. */
import { type Insertable, sql } from 'kysely';
import { type Journal, retryUntilStored } from '../../audit/index.ts';
import { timestamp } from '../../base/index.ts';
import { type Store, statement, type Tables } from '../../store/index.ts';
import { LOSS_RETENTION_SECONDS, type Losses } from './losses.ts';

// Statement that writes losses.

/** Records facts that GitHub revoked. */
const ADD_LOSSES = statement<Insertable<Tables['losses']>>(
  `
insert into losses select * from jsonb_populate_recordset(null::losses, $1::jsonb)
on conflict (fact) do update set learnt_at = greatest(losses.learnt_at, excluded.learnt_at)`,
  { lastOf: 'fact' },
);

export interface StoredLossesContext {
  readonly journal: Journal;
  /** Receives store failures, after which the write is retried. */
  readonly onFailure: (cause: unknown) => void;
  readonly store: Pick<Store, 'db' | 'onLeaderAgain'>;
}

/** Loads the stored losses, and stores each new one. */
export async function persistLosses(context: StoredLossesContext, losses: Losses): Promise<void> {
  const { store } = context;
  const rows = await store.db.selectFrom('losses').selectAll().execute();
  losses.recall(rows.map(({ fact, learnt_at }) => ({ fact, at: Math.floor(learnt_at.getTime() / 1000) })));
  // A broker that was unsure whether it was active may have missed losses recorded by another broker.
  store.onLeaderAgain(losses.doubtAll);
  losses.onLoss(({ fact, at }) => {
    void retryUntilStored(context, (tx) => tx.write(ADD_LOSSES, { fact, learnt_at: timestamp(at) }));
  });
}

/**
 * Deletes losses older than any session.
 * @param now Unix seconds
 */
export async function deleteOldLosses(store: Store, now: number): Promise<void> {
  await sql`delete from losses where learnt_at < ${timestamp(now - LOSS_RETENTION_SECONDS)}::timestamptz`.execute(
    store.db,
  );
}
