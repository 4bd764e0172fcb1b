/**
 * Decides whether the log in the store may be extended, which is the first thing a broker does when it starts or takes
 * over. The log must contain everything covered by the latest checkpoint outside the store. Otherwise, an attacker with
 * access to the database could truncate the log, restart the broker, and have it sign the remaining rows.
 */

import { type ErrorCode, MeshpassError, pageUrl } from '@meshpass/identity';
import { sql } from 'kysely';
import type { Db } from '../../store/index.ts';
import { isCheckpointInForce, keyForEpoch, latestEpoch, readStoredRestores } from '../checkpoint/epoch.ts';
import type { AuditKey } from '../checkpoint/key.ts';
import { type CheckpointSink, type KnownCheckpoints, readKnownCheckpoints } from '../checkpoint/sink.ts';
import { rowHash } from '../log/chain.ts';
import { buildLogTree, rowsAfter } from '../log/rows.ts';

export type VerifiedLog = Awaited<ReturnType<typeof verifyStoredLog>>;

/** How many of the most recent rows to verify at every start. Use `audit verify` to verify all rows. */
const READ_AGAIN = 5_000;

/** The next steps to show to the operator. */
const RECOVERY_HINT =
  'Nothing was written. Keep a copy of the database and find the cause. If the database was restored from a backup, or you know ' +
  "the cause, stop all brokers and run `meshpass audit accept-restore` with this broker's flags for the store, key and " +
  `checkpoints. The command shows what is missing, lets the log continue and records the restore (${pageUrl('docs/install/backup.md#declare-a-restore')}; with the Helm chart, ` +
  'its Job does this).';

/** A hint for invalid checkpoints. It mentions the public URL because the key's name contains its host. */
const FORMER_KEY =
  'If the audit key was changed, put the previous key back. Then no restore needs to be declared. ' +
  "The same applies to the public URL, which determines the log's name.";

/**
 * Verifies the log before it is extended.
 * @throws MeshpassError `audit_checkpoint_missing`, `audit_checkpoint_invalid`, `audit_log_behind`, `audit_tampered`;
 *   errors from a sink or store that does not respond
 */
export async function verifyStoredLog(db: Db, key: AuditKey, sinks: readonly CheckpointSink[]) {
  const known = await readKnownCheckpoints(sinks, key.verifiers);
  const { fault, ...log } = await findLogFault(db, key, known);
  if (fault) throw new MeshpassError(fault.code, `Cannot extend the audit log: ${fault.message} ${RECOVERY_HINT}`);
  return { ...log, known };
}

/** Performs the same checks as `verifyStoredLog()`, but returns the fault instead of throwing it. */
export async function findLogFault(db: Db, key: AuditKey, known: KnownCheckpoints) {
  const { restores, problem: unread } = await readStoredRestores(db, key.verifiers);
  const epoch = latestEpoch(restores);
  const inForce = known.all.filter(({ checkpoint }) => isCheckpointInForce(checkpoint, restores));
  const at = await buildLogTree(
    db,
    undefined,
    key.verifiers,
    inForce.map(({ checkpoint }) => checkpoint),
  );
  const rows = at.head.seq;
  const isNew = rows === 0 && epoch === 1 && !(await hasHistory(db));
  const judged = {
    /** The key for the current epoch of the log. */
    key: keyForEpoch(key, epoch),
    /** The checkpoints that apply to the current log. */
    inForce,
    /** Whether the store has never been used. */
    isNew,
    fault: undefined as { readonly code: ErrorCode; readonly message: string } | undefined,
  };
  const fault = (code: ErrorCode, message: string) => ({ ...judged, fault: { code, message } });

  const [invalid] = known.invalid;
  if (invalid)
    return fault(
      'audit_checkpoint_invalid',
      `the checkpoint in ${invalid.sink} is not valid: ${invalid.problem}. ${FORMER_KEY}`,
    );
  if (unread !== undefined) return fault('audit_tampered', `${unread}.`);
  const { newest } = known;
  if (!newest) {
    if (isNew) return judged;
    const there = rows > 0 ? `the store has ${rows} rows` : 'the store has been used and its log is empty';
    return fault('audit_checkpoint_missing', `${there}, but no checkpoint is stored outside it.`);
  }
  const { checkpoint, sink } = newest;
  const signed = `a checkpoint of ${checkpoint.size} rows was signed (${sink})`;
  if (checkpoint.epoch > epoch)
    return fault(
      'audit_log_behind',
      `${signed} after a restore that is missing from the store. The store is older than that restore.`,
    );
  if (checkpoint.size > rows) return fault('audit_log_behind', `${signed}, but the store has only ${rows}.`);
  // A sink that did not respond when the restore was declared may have a checkpoint that covers more rows than the
  // restore.
  const beyond = checkpoint.epoch < epoch ? restores.find((one) => one.epoch > checkpoint.epoch) : undefined;
  if (beyond?.signed !== undefined && beyond.signed < checkpoint.size)
    return fault('audit_tampered', `${signed}, but the restore declared since then covers only ${beyond.signed}.`);
  const problem = at.problem ?? (await firstChanged(db, rows));
  return problem === undefined ? judged : fault('audit_tampered', `${problem}.`);
}

/** Whether the store has been used. A broker writes an audit row before it writes to any of these tables. */
async function hasHistory(db: Db): Promise<boolean> {
  const { rows } = await sql<{ used: boolean }>`
    select exists (select from sessions) or exists (select from access_versions) or exists (select from audit_cuts)
    as used`.execute(db);
  return rows[0]!.used;
}

/**
 * Verifies the hashes of the most recent rows.
 * @returns a description of the first row that was changed, or undefined if none was
 */
async function firstChanged(db: Db, rows: number): Promise<string | undefined> {
  let previous: string | undefined;
  for await (const row of rowsAfter(db, Math.max(0, rows - READ_AGAIN), rows)) {
    if (rowHash(row) !== row.hash) return `row ${row.seq} was changed: its hash does not match its content`;
    if (previous !== undefined && row.previous !== previous) return `row ${row.seq} does not follow the previous row`;
    previous = row.hash;
  }
  return undefined;
}
