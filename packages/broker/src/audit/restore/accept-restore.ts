/**
 * Recovers a store that lacks signed rows. An operator declares the restore and gives a reason. The log continues in a
 * new epoch (epoch.ts), and its first new row records the restore. All sessions end, because sessions that the store
 * lists as live may have ended after the backup was made. Everything happens in a single transaction.
 */
import { MeshpassError } from '@meshpass/identity';
import { CompiledQuery, sql } from 'kysely';
import { type Clock, type Random, timestamp, toUnixSeconds } from '../../base/index.ts';
import { MAX_SVID_SECONDS } from '../../mesh/index.ts';
import { assertRowCount, CLOSE_EXPLANATIONS, type Db, LOCK_EPOCH, type Store, toStep } from '../../store/index.ts';
import { formatCheckpoint } from '../checkpoint/checkpoint.ts';
import { keyForEpoch } from '../checkpoint/epoch.ts';
import type { AuditKey } from '../checkpoint/key.ts';
import type { CheckpointSink } from '../checkpoint/sink.ts';
import { type SealedRow, seal } from '../log/chain.ts';
import { storeInSinks } from '../log/checkpoint-signer.ts';
import { type AuditRow, auditRow, createAuditEvent } from '../log/event.ts';
import { APPEND_ROWS } from '../log/statements.ts';
import { createLogTree } from '../log/tree.ts';
import type { Survey } from './survey-restore.ts';

export interface RestoreDeclaration {
  /** The operator who is declaring the restore. */
  readonly by: string;
  readonly reason: string;
}

/**
 * How many writer epochs to skip, so that a broker still running on the old store never shares an epoch with a later
 * broker.
 */
const EPOCHS_SKIPPED = 1_000;
const PORTION = 200;

/**
 * Declares that the store was restored, so that the log can continue.
 * @param survey the result of `surveyRestore()` for this store. No other process may write to the store in the meantime
 * @returns the number of the row that records the restore, and the first checkpoint of the epoch
 * @throws MeshpassError `usage` without a reason; `store_unavailable`; sink errors. If a sink only fails at the end,
 *   the restore has been declared, and the next broker that starts will update the sink
 */
export async function acceptRestore(
  { store, key, sinks }: { readonly store: Store; readonly key: AuditKey; readonly sinks: readonly CheckpointSink[] },
  survey: Survey,
  order: RestoreDeclaration,
  clock: Clock,
  random: Random,
) {
  if (order.reason.trim() === '') throw new MeshpassError('usage', 'Specify a reason with --reason.');
  const { restore, epoch, end } = survey;
  const told = seal([tellingRow(survey, order, clock, random)], { seq: end.size, hash: end.hash });
  const tree = createLogTree(end);
  tree.append(told[0]!.hash);
  const next = keyForEpoch(key, epoch);
  const size = end.size + 1;
  const note = next.sign(formatCheckpoint({ origin: next.origin, size, root: tree.root(), isCut: false, restore }));
  // Check with every sink before anything is written, because a sink that rejects the checkpoint would keep an older
  // one.
  for (const sink of sinks) await sink.rehearse?.(note, { epoch, size });

  const endedSessions = await store.db
    .transaction()
    .execute(async (db) => {
      await write(db, store.epoch, told);
      const ended = await endSessions(db, clock, random);
      const rows = seal(ended, { seq: size, hash: told[0]!.hash });
      for (let at = 0; at < rows.length; at += PORTION) await write(db, store.epoch, rows.slice(at, at + PORTION));
      await db
        .insertInto('audit_restores')
        .values({ epoch, note, time: new Date(clock()) })
        .execute();
      await sql`update broker_epoch set epoch = epoch + ${EPOCHS_SKIPPED}`.execute(db);
      return ended.length;
    })
    .catch((cause: unknown) => {
      if (cause instanceof MeshpassError) throw cause;
      throw new MeshpassError('store_unavailable', 'Cannot write to the store. No restore was declared.', {
        cause,
      });
    });
  await storeInSinks(sinks, note, { epoch, size });
  return { epoch, row: size, endedSessions, note };
}

function tellingRow(survey: Survey, { by, reason }: RestoreDeclaration, clock: Clock, random: Random): AuditRow {
  const { restore, epoch, last, signed, missing, unproven, fault, invalid, liveSessions } = survey;
  const event = {
    ...createAuditEvent('audit.restore', {}, clock, random),
    login: by,
    target: restore.of,
    detail: {
      epoch,
      ...restore,
      missing,
      unproven,
      code: fault?.code,
      last_row: last,
      ended_sessions: liveSessions,
      checkpoint: signed?.note,
      checkpoint_time: signed?.time,
      invalid: invalid.map(({ sink, problem }) => ({ sink, problem })),
    },
  };
  return auditRow(event, 'allowed', reason, undefined, clock());
}

/**
 * Ends all live sessions.
 * @returns one audit row per session
 */
async function endSessions(db: Db, clock: Clock, random: Random): Promise<AuditRow[]> {
  const now = toUnixSeconds(clock);
  // These sessions may have received certificates after the backup was made, and the store does not know about them.
  const live = await db.selectFrom('sessions').selectAll().where('closed_at', 'is', null).orderBy('id').execute();
  const ids = live.map(({ id }) => id);
  for (let at = 0; at < ids.length; at += PORTION) {
    const some = ids.slice(at, at + PORTION);
    await sql`
      update session_principals set revoked_at = ${timestamp(now)}::timestamptz,
      last_not_after = greatest(last_not_after, ${timestamp(now + MAX_SVID_SECONDS)}::timestamptz)
      where session_id in (${sql.join(some)}) and revoked_at is null`.execute(db);
    await db
      .updateTable('sessions')
      .set({ closed_at: timestamp(now), close_cause: 'store_restored' })
      .where('id', 'in', some)
      .execute();
  }
  return live.map((one) => {
    const event = {
      ...createAuditEvent('session.close', {}, clock, random),
      sessionId: one.id,
      subject: one.subject,
      login: one.login,
      issuer: one.issuer,
      workspace: one.workspace_key,
      detail: { cause: 'store_restored' },
    };
    return auditRow(event, 'ended', `The session has ended: ${CLOSE_EXPLANATIONS.store_restored}.`, undefined, clock());
  });
}

async function write(db: Db, writer: number, audit: readonly SealedRow[]): Promise<void> {
  if (audit.length === 0) return;
  for (const step of [toStep(LOCK_EPOCH, [writer], 1), toStep(APPEND_ROWS, audit, audit.length)]) {
    const { rows, numAffectedRows } = await db.executeQuery(CompiledQuery.raw(step.sql, [step.parameter]));
    assertRowCount(step, Math.max(rows.length, Number(numAffectedRows ?? 0n)), rows);
  }
}
