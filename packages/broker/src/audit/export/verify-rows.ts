/** Verifies the rows of a log from first to last, and describes every problem that it finds. */

import { parseDetail, rowHash, type SealedRow } from '../log/chain.ts';
import { createLogTree } from '../log/tree.ts';
import type { AuditExport } from './export.ts';

export interface Problem {
  readonly kind:
    | 'changed'
    | 'replaced'
    | 'removed'
    | 'reordered'
    | 'duplicated'
    | 'truncated'
    | 'added'
    | 'rewritten'
    | 'unreadable'
    | 'unsigned'
    | 'unverifiable'
    | 'cut'
    | 'restore';
  /** The first and last affected rows, if known. */
  readonly rows?: readonly [number, number];
  readonly message: string;
}

/** A signed state of the tree. */
export interface SignedTreeHead {
  /** The name of the checkpoint in messages. */
  readonly label: string;
  readonly size: number;
  readonly root: string;
  /** Whether a restore declared after this checkpoint explains why the rows do not match it. */
  readonly isDeclared?: boolean;
}

export type VerifiedRows = Awaited<ReturnType<typeof verifyRows>>;

const KEPT = 1_000;
/** How many rows before and after a moved row to search for its original position. */
const NEAR = 64;

/**
 * Verifies the rows against each other and against the signed states of the tree.
 * @param end the expected number of rows
 */
export async function verifyRows(
  { header: { start }, rows }: AuditExport,
  claims: readonly SignedTreeHead[],
  end: number | undefined,
) {
  const problems: Problem[] = [];
  let more = 0;
  const found = (kind: Problem['kind'], rows: readonly [number, number] | undefined, message: string) => {
    if (problems.length < KEPT) problems.push({ kind, ...(rows && { rows }), message });
    else more += 1;
  };

  const tree = createLogTree(start);
  const pending = claims.filter((claim) => claim.size >= start.size).toSorted((a, b) => a.size - b.size);
  /** The sizes of all cuts recorded in the rows. */
  const prunes = new Set<number>();
  /** The rows that record a restore, by row number. */
  const restores = new Map<number, SealedRow>();
  const missing: [number, number][] = [];
  let last = { seq: start.size, hash: start.hash, intact: true };
  let count = 0;
  let held = 0;
  let agreed = start.size;
  /** Whether the tree covers all rows so far. False after the first gap. */
  let whole = true;

  const hold = () => {
    while (whole && pending[0]?.size === tree.size()) {
      const { label, size, root, isDeclared } = pending.shift()!;
      if (root === tree.root()) {
        held += 1;
        agreed = size;
      } else if (!isDeclared) {
        whole = false;
        const known = problems.some(({ rows }) => rows && rows[1] > agreed && rows[0] <= size);
        if (!known)
          found(
            'rewritten',
            agreed < size ? [agreed + 1, size] : undefined,
            agreed < size
              ? `A row from ${agreed + 1} to ${size} differs from what was signed (${label.toLowerCase()}), and all hashes were recomputed.`
              : `${label} does not match the first ${size} rows.`,
          );
      }
    }
  };

  const take = (row: SealedRow) => {
    const { seq } = row;
    const intact = rowHash(row) === row.hash;
    if (row.action === 'audit.prune' && row.outcome === 'allowed') prunes.add(Number(parseDetail(row).size));
    if (row.action === 'audit.restore' && row.outcome === 'allowed') restores.set(seq, row);
    if (seq <= last.seq) {
      const late = missing.findIndex(([from, to]) => from <= seq && seq <= to);
      if (late < 0) return found('duplicated', [seq, seq], `Row ${seq} is repeated after row ${last.seq}.`);
      const [from, to] = missing[late]!;
      const rest: [number, number][] = [
        [from, seq - 1],
        [seq + 1, to],
      ];
      missing.splice(late, 1, ...rest.filter(([first, last]) => first <= last));
      return found('reordered', [seq, seq], `Row ${seq} comes after row ${last.seq}.`);
    }
    if (seq > last.seq + 1) {
      missing.push([last.seq + 1, seq - 1]);
      whole = false;
    } else if (row.previous !== last.hash && intact && last.intact) {
      if (last.seq === start.size)
        found('replaced', [seq, seq], `Row ${seq} does not follow from the start of the log.`);
      else found('replaced', [last.seq, last.seq], `Row ${last.seq} is not the one that row ${seq} was chained to.`);
    }
    if (!intact) {
      const place = placeOf(row);
      if (place === undefined)
        found('changed', [seq, seq], `Row ${seq} was changed: its hash does not match its content.`);
      else found('reordered', [seq, seq], `Row ${seq} is row ${place} with a different number.`);
    }
    last = { seq, hash: row.hash, intact };
    if (whole) tree.append(row.hash);
    hold();
  };

  hold();
  for await (const row of rows) {
    count += 1;
    if ('line' in row) found('unreadable', undefined, `Line ${row.line} is not a row.`);
    else take(row);
  }
  for (const [from, to] of missing)
    found('removed', [from, to], from === to ? `Row ${from} was removed.` : `Rows ${from} to ${to} were removed.`);
  if (end !== undefined && last.seq > end)
    found('added', [end + 1, last.seq], `Rows ${end + 1} to ${last.seq} are not covered by a signature.`);
  const beyond = pending.filter((claim) => claim.size > last.seq && !claim.isDeclared).at(-1);
  if (beyond)
    found(
      'truncated',
      [last.seq + 1, beyond.size],
      `Rows ${last.seq + 1} to ${beyond.size} were cut off: ${beyond.label.toLowerCase()} covers ${beyond.size} rows.`,
    );
  return { rows: count, last: last.seq, root: tree.root(), held, prunes, restores, problems, more };
}

/** Finds a row's original position if only its number was changed. */
function placeOf(row: SealedRow): number | undefined {
  for (let seq = Math.max(1, row.seq - NEAR); seq <= row.seq + NEAR; seq++)
    if (seq !== row.seq && rowHash({ ...row, seq }) === row.hash) return seq;
  return undefined;
}
