/**
 * Gaps that declared restores leave in a log, as reported by verification: missing rows, the operator who declared the
 * restore, and the checkpoints that the gap explains.
 */
import { type Checkpoint, restoreGap } from '../checkpoint/checkpoint.ts';
import { type DeclaredRestore, isUnproven } from '../checkpoint/epoch.ts';
import { parseDetail, type SealedRow } from '../log/chain.ts';
import type { Problem, VerifiedRows } from './verify-rows.ts';

/** Rows that a declared restore removed from a log. */
export type Gap = ReturnType<typeof restoreGaps>[number];

/** Lists the gap of each declared restore. */
export function restoreGaps(restores: readonly DeclaredRestore[], rows: ReadonlyMap<number, SealedRow>) {
  return restores.map((restore) => {
    const { epoch, kept, signed } = restore;
    const row = tellingRow(restore, rows);
    return {
      /** The log's epoch after the restore. */
      epoch,
      /** Number of rows that were kept. */
      kept,
      /** Whether the newest earlier checkpoint was known. If not, the number of missing rows is unknown. */
      isEndKnown: signed !== undefined,
      ...restoreGap(restore),
      /** The following values come from the row that records the restore. They are undefined if that row was pruned. */
      row: row?.seq,
      time: row?.time,
      by: row?.login ?? undefined,
      reason: row?.reason,
    };
  });
}

/**
 * Whether a later restore explains why a checkpoint does not match the rows. The checkpoint must cover rows that the
 * restore did not keep as proven, but no more rows than the newest checkpoint known at the time of the restore.
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

/** Finds restores without a row and rows without a restore. */
export function restoreProblems(
  restores: readonly DeclaredRestore[],
  { restores: rows, last }: Pick<VerifiedRows, 'restores' | 'last'>,
  before: number,
): Problem[] {
  const problems: Problem[] = [];
  for (const [index, one] of restores.entries()) {
    // A later restore of an older backup may have removed this restore's row.
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
