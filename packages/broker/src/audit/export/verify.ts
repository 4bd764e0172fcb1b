/**
 * Verifies that a log has not been changed. Every row is compared with its hash and with the previous row, and the tree
 * over all rows is compared with the signed checkpoints. Checking the rows is enough to locate a naive change. The tree
 * also exposes an attacker who recomputed all hashes.
 */
import { type Checkpoint, epochOf, readCheckpoint } from '../checkpoint/checkpoint.ts';
import {
  isCheckpointInForce,
  isUnproven,
  latestEpoch,
  parseUnverifiedNote,
  readRestores,
} from '../checkpoint/epoch.ts';
import { type NoteVerifier, parseVerifier } from '../checkpoint/note.ts';
import type { AuditExport } from './export.ts';
import { isExplainedByRestore, restoreGaps, restoreProblems } from './gaps.ts';
import { type Problem, type SignedTreeHead, verifyRows } from './verify-rows.ts';

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
  const claims: SignedTreeHead[] = [];
  const { restores, problem: unread } = readRestores(header.restores, keys);
  if (unread !== undefined)
    problems.push({ kind: 'restore', message: `Cannot verify the restores in the export: ${unread}.` });
  const latest = latestEpoch(restores);
  if (epochOf(keys, header.origin) !== latest && unread === undefined)
    problems.push({
      kind: 'restore',
      message: `The log's origin is ${header.origin}, but no restore was declared for it.`,
    });
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
      problems.push({ kind: 'unsigned', message: `${label} is not valid: ${problem}` });
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
      problems.push({
        kind: 'unverifiable',
        message: `${label} covers the first ${anchor.size} rows, but the export lacks the rows up to ${before}.`,
      });
  }
  const cut = readCut();
  if (cut && cut.size !== before)
    problems.push({ kind: 'cut', message: `The cut is at row ${cut.size}, but the rows start after ${before}.` });

  function readCut(): { readonly size: number } | undefined {
    if (header.cut === null) return undefined;
    if (isOfLostKey(header.cut)) return parseUnverifiedNote(header.cut);
    const signed = claim(header.cut, 'The cut', true);
    if (signed && !isCheckpointInForce(signed, restores) && !isUnproven(signed.size, restores))
      problems.push({ kind: 'cut', message: 'The cut was signed before a restore that dropped its rows.' });
    return signed;
  }

  const followed = await verifyRows(log, claims, closing?.size);
  if (cut && !followed.prunes.has(cut.size))
    problems.push({ kind: 'cut', message: `No row records that the rows up to ${cut.size} were pruned.` });
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
