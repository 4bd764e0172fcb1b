/**
 * Describes the gaps that declared restores leave in a log, as reported by verification: which rows are missing, which
 * operator declared the restore, and which checkpoints the gap explains.
 */
import { type Checkpoint, restoreGap } from '../checkpoint/checkpoint.ts';
import { type DeclaredRestore, isUnproven } from '../checkpoint/epoch.ts';
import { parseDetail, type SealedRow } from '../log/chain.ts';
import type { Problem, VerifiedRows } from './verify-rows.ts';

/** The rows missing from a log because of a declared restore. */
export type Gap = ReturnType<typeof restoreGaps>[number];

/** Returns the gap left by each declared restore. */
export function restoreGaps(restores: readonly DeclaredRestore[], rows: ReadonlyMap<number, SealedRow>) {
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
export function isExplainedByRestore(
  { origin, epoch, size }: Pick<Checkpoint, 'origin' | 'epoch' | 'size'>,
  restores: readonly DeclaredRestore[],
): boolean {
  const since = restores.filter((one) => one.epoch > epoch);
  if (!since.some((one) => size > one.agreed)) return false;
  const next = since.find((one) => one.of === origin);
  return next?.signed === undefined || size <= next.signed;
}

/** Finds restores that are not recorded in a row, and rows that record an undeclared restore. */
export function restoreProblems(
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
