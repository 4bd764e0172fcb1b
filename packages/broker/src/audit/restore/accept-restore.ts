/**
 * Recovers a store that lacks signed rows. An operator declares the restore and gives a reason. The log continues in a
 * new epoch (epoch.ts), and its first new row records the restore. All sessions end, because sessions that the store
 * lists as live may have ended after the backup was made. Everything happens in a single transaction.
 */
import { MeshpassError } from '@meshpass/identity';
import type { Insertable } from 'kysely';
import { type Clock, type Random, timestamp, toUnixSeconds } from '../../base/index.ts';
import { MAX_SVID_SECONDS } from '../../mesh/index.ts';
import { CLOSE_EXPLANATIONS, type Store, statement, type Tables, toStep } from '../../store/index.ts';
import { formatCheckpoint } from '../checkpoint/checkpoint.ts';
import { keyForEpoch } from '../checkpoint/epoch.ts';
import type { AuditKey } from '../checkpoint/key.ts';
import type { CheckpointSink } from '../checkpoint/sink.ts';
import { seal } from '../log/chain.ts';
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

/**
 * Ends all live sessions. They may have received certificates after the backup, which the store does not know about.
 */
const END_SESSIONS = statement<{ readonly at: string; readonly not_after: string }>(`
with x as (
  select * from jsonb_to_recordset($1::jsonb) x (at timestamptz, not_after timestamptz)
), ended as (
  update sessions s set closed_at = x.at, close_cause = 'store_restored' from x where s.closed_at is null
  returning s.id
)
update session_principals p set revoked_at = x.at, last_not_after = greatest(p.last_not_after, x.not_after)
from x, ended where p.session_id = ended.id and p.revoked_at is null`);

const ADD_RESTORES = statement<Insertable<Tables['audit_restores']>>(
  'insert into audit_restores select * from jsonb_populate_recordset(null::audit_restores, $1::jsonb)',
);

const SKIP_EPOCHS = statement<number>('update broker_epoch set epoch = epoch + ($1::jsonb->>0)::integer');

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
  const ended = await endRows(store, clock, random);
  const rows = seal([tellingRow(survey, order, clock, random), ...ended], { seq: end.size, hash: end.hash });
  const tree = createLogTree(end);
  tree.append(rows[0]!.hash);
  const next = keyForEpoch(key, epoch);
  const size = end.size + 1;
  const note = next.sign(formatCheckpoint({ origin: next.origin, size, root: tree.root(), isCut: false, restore }));
  // Check with every sink before anything is written, because a sink that rejects the checkpoint would keep an older
  // one.
  for (const sink of sinks) await sink.rehearse?.(note, { epoch, size });

  const now = toUnixSeconds(clock);
  const steps = [
    toStep(END_SESSIONS, [{ at: timestamp(now), not_after: timestamp(now + MAX_SVID_SECONDS) }]),
    toStep(ADD_RESTORES, [{ epoch, note, time: new Date(clock()) }]),
    toStep(APPEND_ROWS, rows, rows.length),
    toStep(SKIP_EPOCHS, [EPOCHS_SKIPPED]),
  ];
  await store.commit(steps).catch((cause: unknown) => {
    if (cause instanceof MeshpassError) throw cause;
    throw new MeshpassError('store_unavailable', 'Cannot write to the store. No restore was declared.', { cause });
  });
  await storeInSinks(sinks, note, { epoch, size });
  return { epoch, row: size, endedSessions: ended.length, note };
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

/** Returns a row for the end of each live session. */
async function endRows({ db }: Store, clock: Clock, random: Random): Promise<AuditRow[]> {
  const live = await db.selectFrom('sessions').selectAll().where('closed_at', 'is', null).orderBy('id').execute();
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
