/**
 * The way out when the store does not hold what was signed of its log: an operator declares it, with a reason. The log goes on in a
 * new epoch (epoch.ts), its first row after what was kept tells of it, and all sessions end: the store may hold some for live that
 * ended after the backup. All in one transaction.
 */
import { MeshpassError } from '@meshpass/identity';
import { sql } from 'kysely';
import { type Clock, type Random, seconds, timestamp } from '../../clock/clock.ts';
import { CLOSED_BECAUSE } from '../../store/close-causes.ts';
import type { Db, Store } from '../../store/open.ts';
import { formatCheckpoint } from '../checkpoint/checkpoint.ts';
import type { AuditKey } from '../checkpoint/key.ts';
import type { CheckpointSink } from '../checkpoint/sink.ts';
import { storeInSinks } from '../log/checkpoint-signer.ts';
import { type AuditRow, auditRow, newEvent } from '../log/event.ts';
import { type SealedRow, seal } from '../log/leaf.ts';
import { growTree } from '../log/tree.ts';
import { keyAfter, type Survey } from './survey-restore.ts';

export interface RestoreOrder {
  /** Who declares it. */
  readonly by: string;
  readonly reason: string;
}

export interface AcceptedRestore {
  readonly epoch: number;
  /** Number of the row that tells of it. */
  readonly row: number;
  readonly endedSessions: number;
  /** The first checkpoint of the epoch. */
  readonly note: string;
}

/** No SVID is signed for longer (`ttl` of the access file, with what a CA may add). */
export const LONGEST_SVID_SECONDS = 3_600 + 60;
/** A broker that still runs on the former store must not have the number of one that comes after this. */
const EPOCHS_SKIPPED = 1_000;
const PORTION = 200;

/**
 * @param survey surveyRestore(), of this store, which nobody else writes to
 * @throws MeshpassError `usage` without a reason; `store_unavailable`; those of a sink: where that fails only at the end, the restore
 * is declared, and the broker that starts next gives it to the sink
 */
export async function acceptRestore(
  { store, key, sinks }: { readonly store: Store; readonly key: AuditKey; readonly sinks: readonly CheckpointSink[] },
  survey: Survey,
  order: RestoreOrder,
  clock: Clock,
  random: Random,
): Promise<AcceptedRestore> {
  if (order.reason.trim() === '') throw new MeshpassError('usage', 'Give a reason with --reason.');
  const { restore, epoch, end } = survey;
  const told = seal([tellingRow(survey, order, clock, random)], { seq: end.size, hash: end.hash });
  const tree = growTree(end);
  tree.append(told[0]!.hash);
  const next = keyAfter(survey, key);
  const size = end.size + 1;
  const note = next.sign(formatCheckpoint({ origin: next.origin, size, root: tree.root(), isCut: false, restore }));
  // Before anything is written: a sink that refuses it would be left behind.
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
      // Later ones were signed after the backup, and would still be newer: each set gets a version that is later than all of them.
      await db.deleteFrom('configuration_versions').execute();
      return ended.length;
    })
    .catch((cause: unknown) => {
      if (cause instanceof MeshpassError) throw cause;
      throw new MeshpassError('store_unavailable', 'The store could not be written; no restore was declared.', {
        cause,
      });
    });
  await storeInSinks(sinks, note, next, size);
  return { epoch, row: size, endedSessions, note };
}

function tellingRow(survey: Survey, { by, reason }: RestoreOrder, clock: Clock, random: Random): AuditRow {
  const { restore, epoch, last, signed, missing, unproven, fault, invalid, liveSessions } = survey;
  const event = {
    ...newEvent('audit.restore', {}, clock, random),
    login: by,
    target: restore.of,
    detail: {
      ...{ epoch, ...restore, missing, unproven, code: fault?.code, last_row: last, ended_sessions: liveSessions },
      checkpoint: signed?.note,
      checkpoint_time: signed?.time,
      invalid: invalid.map(({ sink, problem }) => ({ sink, problem })),
    },
  };
  return auditRow(event, 'allowed', reason, undefined, clock());
}

/** @returns a row for each */
async function endSessions(db: Db, clock: Clock, random: Random): Promise<AuditRow[]> {
  const now = seconds(clock);
  // After the backup, they got certificates of which the store does not know.
  const live = await db.selectFrom('sessions').selectAll().where('closed_at', 'is', null).orderBy('id').execute();
  const ids = live.map(({ id }) => id);
  for (let at = 0; at < ids.length; at += PORTION) {
    const some = ids.slice(at, at + PORTION);
    await sql`
      update session_principals set revoked_at = ${timestamp(now)}::timestamptz,
      last_not_after = greatest(last_not_after, ${timestamp(now + LONGEST_SVID_SECONDS)}::timestamptz)
      where session_id in (${sql.join(some)}) and revoked_at is null`.execute(db);
    await db
      .updateTable('sessions')
      .set({ closed_at: timestamp(now), close_cause: 'store_restored' })
      .where('id', 'in', some)
      .execute();
  }
  return live.map((one) => {
    const event = {
      ...newEvent('session.close', {}, clock, random),
      ...{ sessionId: one.id, subject: one.subject, login: one.login, issuer: one.issuer },
      ...{ workspace: one.workspace_key, detail: { cause: 'store_restored' } },
    };
    return auditRow(event, 'ended', `The session has ended: ${CLOSED_BECAUSE.store_restored}.`, undefined, clock());
  });
}

async function write(db: Db, writer: number, audit: readonly SealedRow[]): Promise<void> {
  if (audit.length > 0) await sql`select meshpass_write(${writer}, ${JSON.stringify({ audit })}::jsonb)`.execute(db);
}
