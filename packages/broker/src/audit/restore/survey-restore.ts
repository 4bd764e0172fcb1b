/** Compares the rows in the store with the rows that were signed, for an operator who is about to declare a restore. */
import { MeshpassError } from '@meshpass/identity';
import type { Db } from '../../store/index.ts';
import { epochOf, originOf, type Restore, readCheckpoint, restoreGap } from '../checkpoint/checkpoint.ts';
import { isCheckpointInForce, parseUnverifiedNote, readEpoch, readStoredRestores } from '../checkpoint/epoch.ts';
import type { AuditKey } from '../checkpoint/key.ts';
import type { KnownCheckpoints } from '../checkpoint/sink.ts';
import { rowHash } from '../log/chain.ts';
import { lastCut, rowsAfter } from '../log/rows.ts';
import { createLogTree, EMPTY_LOG_STATE } from '../log/tree.ts';
import { findLogFault } from './admit.ts';

export type Survey = Awaited<ReturnType<typeof surveyRestore>>;

/** The highest plausible epoch. Unverified notes can contain any number. */
const MAX_EPOCH = 1_000_000;

/**
 * Reads the whole log and compares it with the signed checkpoints.
 * @throws MeshpassError `audit_tampered` if rows are missing from the middle of the log, which then cannot continue
 */
export async function surveyRestore(db: Db, key: AuditKey, known: KnownCheckpoints) {
  const { fault } = await findLogFault(db, key, known);
  const { verifiers } = key;
  const { restores } = await readStoredRestores(db, verifiers);
  const { newest, invalid } = known;
  // Include notes that cannot be verified, because their sinks only accept a later epoch.
  const claimed = invalid
    .map(({ note }) => epochOf(verifiers, parseUnverifiedNote(note).origin) ?? 1)
    .filter((one) => one < MAX_EPOCH);
  const latest = Math.max(await readEpoch(db), newest?.checkpoint.epoch ?? 1, ...claimed);

  // The signed root hashes by size.
  const roots = new Map<number, Set<string>>();
  const stored = await db.selectFrom('audit_checkpoints').select('note').execute();
  for (const { note } of [...stored, ...known.all]) {
    const read = readCheckpoint(note, verifiers);
    if ('problem' in read || read.isCut || !isCheckpointInForce(read, restores)) continue;
    roots.set(read.size, (roots.get(read.size) ?? new Set()).add(read.root));
  }
  const { end, agreed, time } = await walk(db, roots, key);
  const kept = end.size;
  const signed = newest?.checkpoint.size;
  const live = await db.selectFrom('sessions').select('id').where('closed_at', 'is', null).execute();
  const access = await db
    .selectFrom('access_versions')
    .selectAll()
    .orderBy('version', 'desc')
    .limit(1)
    .executeTakeFirst();
  const restore: Restore = { of: newest?.checkpoint.origin ?? originOf(verifiers, latest), kept, agreed, signed };
  return {
    /** Why a broker would not start, or undefined if it would. */
    fault,
    /** The last row in the store, or undefined if the log is empty. */
    last: kept === 0 ? undefined : { seq: kept, hash: end.hash, time },
    /** The latest valid checkpoint outside the store. */
    signed: newest && { sink: newest.sink, note: newest.note, time: newest.time, rows: newest.checkpoint.size },
    /** The invalid notes found in the sinks. */
    invalid,
    ...restoreGap(restore),
    /** The number of live sessions in the store, all of which will end. */
    liveSessions: live.length,
    /** The access file version that will be in force, if access files are applied by a plan. */
    access: access && { version: access.version, time: access.time.toISOString(), appliedBy: access.applied_by },
    /** The epoch of the log after the restore. */
    epoch: latest + 1,
    restore,
    /** The state of the log after the last row in the store. */
    end,
  };
}

/**
 * Builds the tree over all rows and compares it with the signed roots, up to the first row whose hash does not match.
 */
async function walk(db: Db, roots: ReadonlyMap<number, ReadonlySet<string>>, { verifiers }: AuditKey) {
  const cut = await lastCut(db);
  const start = cut?.start ?? EMPTY_LOG_STATE;
  const tree = createLogTree(start);
  let { hash } = start;
  let agreed = cut && 'problem' in readCheckpoint(cut.note, verifiers) ? 0 : start.size;
  let isIntact = true;
  let time: string | undefined;
  for await (const row of rowsAfter(db, start.size, Number.MAX_SAFE_INTEGER)) {
    if (row.seq !== tree.size() + 1)
      throw new MeshpassError(
        'audit_tampered',
        `Row ${tree.size() + 1} is missing from the middle of the log, so the log cannot be continued. Keep a copy of the database. Then restore an earlier backup or start with an empty database.`,
      );
    if (rowHash(row) !== row.hash || row.previous !== hash) isIntact = false;
    tree.append(row.hash);
    ({ hash, time } = row);
    const signed = roots.get(tree.size());
    if (signed && [...signed].some((root) => root !== tree.root())) isIntact = false;
    if (signed && isIntact) agreed = tree.size();
  }
  return { end: tree.state(), agreed, time };
}
