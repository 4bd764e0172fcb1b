/** Stores losses so that the next active broker is not misled by GitHub servers that lag behind. */
import { type Insertable, sql } from 'kysely';
import { type Journal, retryUntilStored } from '../../audit/index.ts';
import { timestamp } from '../../base/index.ts';
import { type Store, statement, type Tables } from '../../store/index.ts';
import { LOSS_RETENTION_SECONDS, type Losses } from './losses.ts';

/** The SQL statement that records which facts GitHub has revoked. */
const ADD_LOSSES = statement<Insertable<Tables['losses']>>(
  `
insert into losses select * from jsonb_populate_recordset(null::losses, $1::jsonb)
on conflict (fact) do update set learnt_at = greatest(losses.learnt_at, excluded.learnt_at)`,
  { lastOf: 'fact' },
);

export interface StoredLossesContext {
  readonly journal: Journal;
  /** Called when a write to the store fails. The write is retried afterwards. */
  readonly onFailure: (cause: unknown) => void;
  readonly store: Pick<Store, 'db' | 'onLeaderAgain'>;
}

/** Loads all stored losses and then starts storing new ones. */
export async function persistLosses(context: StoredLossesContext, losses: Losses): Promise<void> {
  const { store } = context;
  const rows = await store.db.selectFrom('losses').selectAll().execute();
  losses.recall(rows.map(({ fact, learnt_at }) => ({ fact, at: Math.floor(learnt_at.getTime() / 1000) })));
  // While it was unclear whether this broker was the leader, another broker may have recorded losses that this one
  // missed.
  store.onLeaderAgain(losses.doubtAll);
  losses.onLoss(({ fact, at }) => {
    void retryUntilStored(context, (tx) => tx.write(ADD_LOSSES, { fact, learnt_at: timestamp(at) }));
  });
}

/**
 * Deletes losses that are older than any session can be.
 * @param now the current time in Unix seconds
 */
export async function deleteOldLosses(store: Store, now: number): Promise<void> {
  await sql`delete from losses where learnt_at < ${timestamp(now - LOSS_RETENTION_SECONDS)}::timestamptz`.execute(
    store.db,
  );
}
