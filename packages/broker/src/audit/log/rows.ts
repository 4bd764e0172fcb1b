/** Reads the log from the store: pages of rows, the last cut, and the tree at any size. */
import { sql } from 'kysely';
import type { Db, Tables } from '../../store/index.ts';
import { type Checkpoint, readCheckpoint } from '../checkpoint/checkpoint.ts';
import { isCheckpointInForce, isUnproven, readStoredRestores } from '../checkpoint/epoch.ts';
import type { NoteVerifier } from '../checkpoint/note.ts';
import type { SealedRow } from './chain.ts';
import { createLogTree, EMPTY_LOG_STATE, isLogState, type LogState, treeRootHash } from './tree.ts';

const PAGE = 5_000;
const CHECKPOINT_PAGE = 100;

/** Converts a database row to the form that was hashed. */
export function toSealedRow(row: { readonly [K in keyof Tables['audit']]: unknown }): SealedRow {
  return { ...row, seq: Number(row.seq), time: (row.time as Date).toISOString() } as SealedRow;
}

/** Reads the last cut, which replaces the pruned rows. */
export async function lastCut(db: Db): Promise<{ readonly start: LogState; readonly note: string } | undefined> {
  const cut = await db.selectFrom('audit_cuts').selectAll().orderBy('size', 'desc').limit(1).executeTakeFirst();
  return cut && { start: toLogState(cut), note: cut.note };
}

/** Returns the state recorded in a stored cut or checkpoint. */
function toLogState(cut: Pick<Tables['audit_cuts'], 'hash' | 'peaks'> & { readonly size: unknown }): LogState {
  return { size: Number(cut.size), hash: cut.hash, peaks: JSON.parse(cut.peaks) as string[] };
}

export type LogTree = Awaited<ReturnType<typeof buildLogTree>>;

/**
 * Builds the tree over the first rows, starting from the nearest checkpoint signed by one of the keys.
 * @param size the number of rows to cover, or undefined for all rows
 * @param known signed checkpoints from outside the store, which the tree must match
 * @returns the tree and its last row. `problem` explains why the rows do not form the expected tree, in which case the
 *   tree is unusable
 */
export async function buildLogTree(
  db: Db,
  size: number | undefined,
  verifiers: readonly NoteVerifier[],
  known: readonly Checkpoint[] = [],
) {
  const { start, problem } = await nearestStart(db, size, verifiers);
  const tree = createLogTree(start);
  const head = { seq: start.size, hash: start.hash };
  const problems = [problem];
  const hold = () => {
    for (const one of known)
      if (one.size === tree.size() && one.root !== tree.root())
        problems.push(`the first ${one.size} rows do not match a signed checkpoint`);
  };
  hold();
  for await (const { seq, hash } of rowsAfter(db, head.seq, size ?? Number.MAX_SAFE_INTEGER)) {
    if (seq !== head.seq + 1) problems.push(`row ${head.seq + 1} is missing`);
    tree.append(hash);
    Object.assign(head, { seq, hash });
    hold();
  }
  if (size !== undefined && head.seq < size) problems.push(`row ${head.seq + 1} is missing`);
  // New rows always follow the last existing row, regardless of what a checkpoint contains.
  const there = size === undefined ? await lastThere(db) : head;
  if (there.seq !== head.seq || there.hash !== head.hash) {
    problems.push(`row ${head.seq} is missing`);
    Object.assign(head, there);
  }
  const signed = Math.max(0, ...known.map((one) => one.size));
  if (size === undefined && signed > head.seq)
    problems.push(`a signed checkpoint covers ${signed} rows, but the log has ${head.seq}`);
  return { tree, head, problem: problems.find((one) => one !== undefined) };
}

/** Returns the last row in the store, determined the same way as in `APPEND_ROWS`. */
async function lastThere(db: Db): Promise<LogTree['head']> {
  const row = await db.selectFrom('audit').select(['seq', 'hash']).orderBy('seq', 'desc').limit(1).executeTakeFirst();
  if (row) return { seq: Number(row.seq), hash: row.hash };
  const { size, hash } = (await lastCut(db))?.start ?? EMPTY_LOG_STATE;
  return { seq: size, hash };
}

/**
 * Finds the nearest state that the tree can be built from. Invalid checkpoints are skipped, because a declared restore
 * leaves some behind, and an attacker with access to the store could add others. The last hash in a stored checkpoint
 * is that of the row itself, or that of the cut.
 */
async function nearestStart(
  db: Db,
  size: number | undefined,
  verifiers: readonly NoteVerifier[],
): Promise<{ readonly start: LogState; readonly problem: string | undefined }> {
  const cut = await lastCut(db);
  const floor = cut?.start ?? EMPTY_LOG_STATE;
  const { restores, problem: unread } = await readStoredRestores(db, verifiers);
  /** Whether a signed note covers exactly this tree and applies to the current log. */
  const isVouched = (start: LogState, note: string, isCut: boolean) => {
    const checkpoint = readCheckpoint(note, verifiers);
    if ('problem' in checkpoint || checkpoint.isCut !== isCut || !isLogState(start)) return false;
    return (
      isCheckpointInForce(checkpoint, restores) &&
      checkpoint.size === start.size &&
      checkpoint.root === treeRootHash(start.peaks)
    );
  };
  const good = cut === undefined || isVouched(floor, cut.note, true) || isUnproven(floor.size, restores);
  const problem = good ? unread : `the cut at row ${floor.size} is not signed by this broker`;
  for (let below = size === undefined ? undefined : size + 1; ; ) {
    let query = db.selectFrom('audit_checkpoints').selectAll().where('size', '>', String(floor.size));
    if (below !== undefined) query = query.where('size', '<', String(below));
    const page = await query.orderBy('size', 'desc').limit(CHECKPOINT_PAGE).execute();
    const found = page.find((one) => isVouched(toLogState(one), one.note, false));
    if (found) return { start: toLogState(found), problem };
    if (page.length < CHECKPOINT_PAGE) return { start: floor, problem };
    below = Number(page.at(-1)!.size);
  }
}

/** Reads the rows after `after`, up to and including `upTo`, in order. */
export async function* rowsAfter(db: Db, after: number, upTo: number): AsyncGenerator<SealedRow> {
  for (let at = after; at < upTo; ) {
    const rows = await db
      .selectFrom('audit')
      .selectAll()
      .where('seq', '>', String(at))
      .where('seq', '<=', String(upTo))
      .orderBy('seq')
      .limit(PAGE / 5)
      .execute();
    if (rows.length === 0) return;
    for (const row of rows) yield toSealedRow(row);
    at = Number(rows.at(-1)!.seq);
  }
}

/**
 * Deletes a batch of rows that the last cut replaced.
 * @returns the number of deleted rows
 */
export async function deletePruned(db: Db): Promise<number> {
  const { numAffectedRows } = await sql`
    delete from audit where seq in (
      select seq from audit where seq <= (select max(size) from audit_cuts) order by seq limit ${PAGE}
    )`.execute(db);
  await sql`delete from audit_checkpoints where size <= (select max(size) from audit_cuts)`.execute(db);
  return Number(numAffectedRows ?? 0n);
}
