/**
 * Verifies that a log has not been changed. Every row is compared with its hash and with the previous row, and the tree
 * over all rows is compared with the signed checkpoints. Checking the rows is enough to locate a naive change. The tree
 * also exposes an attacker who recomputed all hashes.
 */
import { type Checkpoint, epochOf, readCheckpoint, restoreGap } from '../checkpoint/checkpoint.ts';
import {
  type DeclaredRestore,
  isCheckpointInForce,
  isUnproven,
  latestEpoch,
  parseUnverifiedNote,
  readRestores,
} from '../checkpoint/epoch.ts';
import { type NoteVerifier, parseVerifier } from '../checkpoint/note.ts';
import { parseDetail, type SealedRow } from '../log/chain.ts';
import type { AuditExport } from './export.ts';
import { type Problem, type SignedTreeHead, type VerifiedRows, verifyRows } from './verify-rows.ts';

export interface VerifyOptions {
  /** The keys to trust. If there are none, the keys in the export are used. */
  readonly keys?: readonly NoteVerifier[];
  /** Checkpoints that are stored outside the export. */
  readonly anchored?: readonly { readonly label: string; readonly note: string }[];
}

export type Report = Awaited<ReturnType<typeof verifyExport>>;

const LISTED = 100;

/** Reads an export to its end and verifies it. */
export async function verifyExport(log: AuditExport, options: VerifyOptions = {}) {
  const { header } = log;
  const keysPinned = options.keys !== undefined && options.keys.length > 0;
  const keys = keysPinned ? options.keys! : header.keys.map(parseVerifier);
  const { size: before } = header.start;
  const problems: Problem[] = [];
  const found = (kind: Problem['kind'], message: string) => {
    problems.push({ kind, message });
  };
  const claims: SignedTreeHead[] = [];
  const { restores, problem: unread } = readRestores(header.restores, keys);
  if (unread !== undefined) found('restore', `Cannot verify the restores in the export: ${unread}.`);
  const latest = latestEpoch(restores);
  if (epochOf(keys, header.origin) !== latest && unread === undefined)
    found('restore', `The log's origin is ${header.origin}, but no restore was declared for it.`);
  const claim = (note: string, label: string, isCut = false, mayBeEarlier = true): Checkpoint | undefined => {
    const read = readCheckpoint(note, keys);
    const problem =
      'problem' in read
        ? read.problem
        : read.origin !== header.origin && !(mayBeEarlier && read.epoch < latest)
          ? `it belongs to a different log, ${read.origin}`
          : read.isCut !== isCut
            ? `it is ${isCut ? 'not ' : ''}a cut`
            : undefined;
    if ('problem' in read || problem !== undefined) {
      found('unsigned', `${label} is not valid: ${problem}`);
      return undefined;
    }
    claims.push({ label, size: read.size, root: read.root, isDeclared: isExplainedByRestore(read, restores) });
    return read;
  };

  const closing = claim(header.checkpoint, 'The export checkpoint', false, false);
  // Notes signed with a lost key prove nothing. The loss of the key has been declared.
  const isOfLostKey = (note: string) =>
    'problem' in readCheckpoint(note, keys) && isUnproven(parseUnverifiedNote(note).size, restores);
  for (const [index, note] of log.checkpoints.entries())
    if (!isOfLostKey(note)) claim(note, `Checkpoint ${index + 1} from the store`);
  for (const { note, label } of options.anchored ?? []) {
    const anchor = claim(note, label);
    if (anchor && anchor.size < before)
      found(
        'unverifiable',
        `${label} covers the first ${anchor.size} rows, but the export lacks the rows up to ${before}.`,
      );
  }
  const cut = readCut();
  if (cut && cut.size !== before) found('cut', `The cut is at row ${cut.size}, but the rows start after ${before}.`);

  function readCut(): { readonly size: number } | undefined {
    if (header.cut === null) return undefined;
    if (isOfLostKey(header.cut)) return parseUnverifiedNote(header.cut);
    const signed = claim(header.cut, 'The cut', true);
    if (signed && !isCheckpointInForce(signed, restores) && !isUnproven(signed.size, restores))
      found('cut', 'The cut was signed before a restore that dropped its rows.');
    return signed;
  }

  const followed = await verifyRows(log, claims, closing?.size);
  if (cut && !followed.prunes.has(cut.size))
    found('cut', `No row records that the rows up to ${cut.size} were pruned.`);
  const all = [...problems, ...followed.problems, ...restoreProblems(restores, followed, before)];
  return {
    ok: all.length === 0,
    origin: header.origin,
    /** The verifier keys that were trusted. */
    keys: keys.map((key) => key.text),
    /** Whether the keys were provided by the caller rather than taken from the export. */
    keysPinned,
    rows: followed.rows,
    /** The numbers of the first and last expected rows. */
    first: before + 1,
    last: closing?.size ?? followed.last,
    /** The root hash over all rows before the first gap, in hex. */
    root: followed.root,
    /** How many signed checkpoints match the rows. */
    checkpoints: followed.held,
    /** The last row that was pruned according to a signed cut, or 0 if no rows were pruned. */
    prunedUpTo: cut ? before : 0,
    /**
     * Missing rows that a declared restore explains. They are not a sign of tampering, but they do leave the log
     * incomplete.
     */
    gaps: restoreGaps(restores, followed.restores),
    problems: all.slice(0, LISTED),
    /** How many more problems there are than the ones listed. */
    more: Math.max(0, all.length - LISTED) + followed.more,
  };
}

/** The rows missing from a log because of a declared restore. */
export type Gap = ReturnType<typeof restoreGaps>[number];

/** Returns the gap left by each declared restore. */
function restoreGaps(restores: readonly DeclaredRestore[], rows: ReadonlyMap<number, SealedRow>) {
  return restores.map((restore) => {
    const { epoch, kept, signed } = restore;
    const row = tellingRow(restore, rows);
    return {
      /** The log's epoch after the restore. */
      epoch,
      /** The number of rows that were kept. */
      kept,
      /** Whether the latest checkpoint before the restore was known. If not, the number of missing rows is unknown. */
      isEndKnown: signed !== undefined,
      ...restoreGap(restore),
      /**
       * This value and the following ones come from the row that records the restore. They are undefined if that row
       * was pruned.
       */
      row: row?.seq,
      time: row?.time,
      by: row?.login ?? undefined,
      reason: row?.reason,
    };
  });
}

/**
 * Whether a later restore explains why a checkpoint does not match the rows. The checkpoint must cover rows that the
 * restore lost or kept without proof, but no more rows than the latest checkpoint known at the time of the restore.
 */
function isExplainedByRestore(
  { origin, epoch, size }: Pick<Checkpoint, 'origin' | 'epoch' | 'size'>,
  restores: readonly DeclaredRestore[],
): boolean {
  const since = restores.filter((one) => one.epoch > epoch);
  if (!since.some((one) => size > one.agreed)) return false;
  const next = since.find((one) => one.of === origin);
  return next?.signed === undefined || size <= next.signed;
}

/** Finds restores that are not recorded in a row, and rows that record an undeclared restore. */
function restoreProblems(
  restores: readonly DeclaredRestore[],
  { restores: rows, last }: Pick<VerifiedRows, 'restores' | 'last'>,
  before: number,
): Problem[] {
  const problems: Problem[] = [];
  for (const [index, one] of restores.entries()) {
    // This restore's row may be gone if an even older backup was restored later.
    const isThere =
      one.size > before && one.size <= last && restores.slice(index + 1).every(({ kept }) => kept >= one.size);
    if (isThere && !tellingRow(one, rows))
      problems.push({
        kind: 'restore' as const,
        rows: [one.size, one.size] as const,
        message: `No row records the restore that began epoch ${one.epoch}.`,
      });
  }
  for (const { seq } of rows.values())
    if (!restores.some((one) => one.size === seq) && !isUnproven(seq, restores))
      problems.push({
        kind: 'restore',
        rows: [seq, seq],
        message: `Row ${seq} records a restore that was not signed.`,
      });
  return problems;
}

function tellingRow(
  { epoch, kept }: Pick<DeclaredRestore, 'epoch' | 'kept'>,
  rows: ReadonlyMap<number, SealedRow>,
): SealedRow | undefined {
  const row = rows.get(kept + 1);
  return row && Number(parseDetail(row).epoch) === epoch ? row : undefined;
}
