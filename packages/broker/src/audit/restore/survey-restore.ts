/** What an operator has to know before a restore is declared: what the store has, what was signed, and what is missing between. */
import { MeshpassError } from '@meshpass/identity';
import type { Db } from '../../store/open.ts';
import { type Restore, readCheckpoint } from '../checkpoint/checkpoint.ts';
import {
  baseOf,
  claimOf,
  epochOf,
  inEpoch,
  isInForce,
  originOf,
  readRestores,
  recordedEpoch,
  restoreNotes,
} from '../checkpoint/epoch.ts';
import type { AuditKey } from '../checkpoint/key.ts';
import type { KnownCheckpoints } from '../checkpoint/known-checkpoints.ts';
import { NO_ROW, rowHash } from '../log/leaf.ts';
import { BEGINNING, lastCut, rowsAfter, type Start } from '../log/rows.ts';
import { growTree } from '../log/tree.ts';
import { checkLog, type Fault } from './admit.ts';

export interface Survey {
  /** Why a broker would not start; undefined where it would. */
  readonly fault: Fault | undefined;
  /** The last row that the store has; undefined where it has none. */
  readonly last: { readonly seq: number; readonly hash: string; readonly time: string | undefined } | undefined;
  /** The newest checkpoint outside of the store that verifies. */
  readonly signed:
    | { readonly sink: string; readonly note: string; readonly time: string | undefined; readonly rows: number }
    | undefined;
  /** What the sinks have and does not count. */
  readonly invalid: KnownCheckpoints['invalid'];
  /** First and last row that were signed for and are not there. */
  readonly missing: readonly [number, number] | undefined;
  /** First and last row that are there and not as they were signed, or that nothing proves. */
  readonly unproven: readonly [number, number] | undefined;
  /** Sessions that the store takes for live: all of them end. */
  readonly liveSessions: number;
  /** Number and time of the access file that will be in force, where access files are applied by plan. */
  readonly access: { readonly version: string; readonly time: string; readonly appliedBy: string } | undefined;
  /** Of the log after the restore. */
  readonly epoch: number;
  readonly restore: Restore;
  /** The rows that are there. */
  readonly end: Start;
}

/** Nobody restores so often; a place may hold anything. */
const MAX_EPOCH = 1_000_000;

/**
 * Reads the whole log.
 * @throws MeshpassError `audit_tampered` where rows are missing in its middle: such a log cannot go on at all
 */
export async function surveyRestore(db: Db, key: AuditKey, known: KnownCheckpoints): Promise<Survey> {
  const { fault } = await checkLog(db, key, known);
  const base = baseOf(key.verifiers);
  const { restores } = readRestores(await restoreNotes(db), key.verifiers);
  const { newest, invalid } = known;
  // Also what no key verifies counts: its place takes a later one only.
  const claimed = invalid.map(({ note }) => epochOf(base, claimOf(note).origin) ?? 1).filter((one) => one < MAX_EPOCH);
  const latest = Math.max(await recordedEpoch(db), newest?.epoch ?? 1, ...claimed);

  // What was signed of the rows, by size.
  const roots = new Map<number, Set<string>>();
  for (const note of [...(await storedNotes(db)), ...known.all.map((one) => one.note)]) {
    const read = readCheckpoint(note, key.verifiers);
    if ('problem' in read || read.isCut || !isInForce(read, base, restores)) continue;
    roots.set(read.size, (roots.get(read.size) ?? new Set()).add(read.root));
  }
  const { end, agreed, time } = await walk(db, roots, key);
  const kept = end.size;
  const signed = newest?.checkpoint.size;
  const lost = signed !== undefined && signed > kept ? ([kept + 1, signed] as const) : undefined;
  const access = await db
    .selectFrom('access_versions')
    .selectAll()
    .orderBy('version', 'desc')
    .limit(1)
    .executeTakeFirst();
  return {
    fault,
    last: kept === 0 ? undefined : { seq: kept, hash: end.hash, time },
    signed: newest && { sink: newest.sink, note: newest.note, time: newest.time, rows: newest.checkpoint.size },
    invalid,
    missing: lost,
    unproven: agreed < kept ? [agreed + 1, kept] : undefined,
    liveSessions: await countLive(db),
    access: access && { version: access.version, time: access.time.toISOString(), appliedBy: access.applied_by },
    epoch: latest + 1,
    restore: { of: newest?.checkpoint.origin ?? originOf(base, latest), kept, agreed, signed },
    end,
  };
}

/** The key that signs after the restore. */
export function keyAfter(survey: Survey, key: AuditKey): AuditKey {
  return inEpoch(key, survey.epoch);
}

/** Grows the tree over all rows, and holds it against what was signed as long as every row is what its hash says. */
async function walk(
  db: Db,
  roots: ReadonlyMap<number, ReadonlySet<string>>,
  { verifiers }: AuditKey,
): Promise<{ readonly end: Start; readonly agreed: number; readonly time: string | undefined }> {
  const cut = await lastCut(db);
  const start = cut?.start ?? BEGINNING;
  const tree = growTree(start);
  let { hash } = start;
  let agreed = cut && 'problem' in readCheckpoint(cut.note, verifiers) ? 0 : start.size;
  let isIntact = true;
  let time: string | undefined;
  for await (const row of rowsAfter(db, start.size, Number.MAX_SAFE_INTEGER)) {
    if (row.seq !== tree.size() + 1)
      throw new MeshpassError(
        'audit_tampered',
        `Row ${tree.size() + 1} is missing in the middle of the log, which cannot be continued. Keep a copy of the database, and restore an earlier backup, or start with an empty one.`,
      );
    if (rowHash(row) !== row.hash || row.previous !== hash) isIntact = false;
    tree.append(row.hash);
    ({ hash, time } = row);
    const signed = roots.get(tree.size());
    if (signed && [...signed].some((root) => root !== tree.root())) isIntact = false;
    if (signed && isIntact) agreed = tree.size();
  }
  return { end: { ...tree.frontier(), hash: tree.size() === 0 ? NO_ROW : hash }, agreed, time };
}

async function storedNotes(db: Db): Promise<string[]> {
  return (await db.selectFrom('audit_checkpoints').select('note').execute()).map(({ note }) => note);
}

async function countLive(db: Db): Promise<number> {
  const { count } = await db
    .selectFrom('sessions')
    .select((eb) => eb.fn.countAll().as('count'))
    .where('closed_at', 'is', null)
    .executeTakeFirstOrThrow();
  return Number(count);
}
