/**
 * Gaps that declared restores leave in a log, as reported by verification: missing rows, the operator who declared the
 * restore, and the checkpoints that the gap explains.
 */
import type { Checkpoint } from '../checkpoint/checkpoint.ts';
import { type DeclaredRestore, isUnproven } from '../checkpoint/epoch.ts';
import { detailOf, type SealedRow } from '../log/chain.ts';
import type { Problem, VerifiedRows } from './verify-rows.ts';

/** Rows that a declared restore removed from a log. */
export interface Gap {
  /** The log's epoch after the restore. */
  readonly epoch: number;
  /** Number of rows that were kept. */
  readonly kept: number;
  /** First and last signed row missing from the log; undefined if none is known. */
  readonly missing: readonly [number, number] | undefined;
  /** First and last row that no earlier checkpoint proves. */
  readonly unproven: readonly [number, number] | undefined;
  /** Whether the newest earlier checkpoint was known. If not, the number of missing rows is unknown. */
  readonly isEndKnown: boolean;
  /** Values from the row that records the restore, unless it was pruned. */
  readonly row: number | undefined;
  readonly time: string | undefined;
  readonly by: string | undefined;
  readonly reason: string | undefined;
}

/** Lists the gap of each declared restore. */
export function gapsOf(restores: readonly DeclaredRestore[], rows: ReadonlyMap<number, SealedRow>): Gap[] {
  return restores.map(({ epoch, kept, agreed, signed }) => {
    const row = tellingRow({ epoch, kept }, rows);
    return {
      epoch,
      kept,
      isEndKnown: signed !== undefined,
      missing: signed !== undefined && signed > kept ? [kept + 1, signed] : undefined,
      unproven: agreed < kept ? [agreed + 1, kept] : undefined,
      row: row?.seq,
      time: row?.time,
      by: row?.login ?? undefined,
      reason: row?.reason,
    };
  });
}

/**
 * Whether a later restore explains why a checkpoint does not match the rows. The checkpoint must cover rows that the
 * restore did not keep as proven, and at most those of the newest checkpoint known then.
 */
export function declaredAt(
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
  return row && Number(detailOf(row).epoch) === epoch ? row : undefined;
}
