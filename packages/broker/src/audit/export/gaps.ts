/** Declared restores, as whoever verifies a log sees them: what is missing, who said so, and what that explains. */
import type { Checkpoint } from '../checkpoint/checkpoint.ts';
import { type DeclaredRestore, epochOf, isUnproven } from '../checkpoint/epoch.ts';
import type { SealedRow } from '../log/leaf.ts';
import type { Problem, VerifiedRows } from './verify-rows.ts';

/** What a declared restore took from a log. */
export interface Gap {
  /** Of the log from then on. */
  readonly epoch: number;
  /** Rows that were there and went on. */
  readonly kept: number;
  /** First and last row that had been signed for and are not in the log; undefined where none is known. */
  readonly missing: readonly [number, number] | undefined;
  /** First and last row that are in the log and that nothing of before proves. */
  readonly unproven: readonly [number, number] | undefined;
  /** Whether the newest checkpoint of before was known: without it, nobody can say how many rows are missing. */
  readonly isEndKnown: boolean;
  /** From the row that tells of it, where it is not pruned. */
  readonly row: number | undefined;
  readonly time: string | undefined;
  readonly by: string | undefined;
  readonly reason: string | undefined;
}

export function gapsOf(restores: readonly DeclaredRestore[], rows: ReadonlyMap<number, SealedRow>): Gap[] {
  return restores.map(({ epoch, kept, agreed, signed }) => {
    const row = tellingRow({ epoch, kept }, rows);
    return {
      ...{ epoch, kept, isEndKnown: signed !== undefined },
      missing: signed !== undefined && signed > kept ? [kept + 1, signed] : undefined,
      unproven: agreed < kept ? [agreed + 1, kept] : undefined,
      ...{ row: row?.seq, time: row?.time, by: row?.login ?? undefined, reason: row?.reason },
    };
  });
}

/**
 * Whether a checkpoint was signed before a restore that explains why it does not agree with the rows: it speaks of rows that the
 * restore did not take over as proven, and not of more than the newest checkpoint that was known then.
 */
export function declaredAt(
  { origin, size }: Pick<Checkpoint, 'origin' | 'size'>,
  base: string,
  restores: readonly DeclaredRestore[],
): boolean {
  const epoch = epochOf(base, origin);
  if (epoch === undefined) return false;
  const since = restores.filter((one) => one.epoch > epoch);
  if (!since.some((one) => size > one.agreed)) return false;
  const next = since.find((one) => epochOf(base, one.of) === epoch);
  return next?.signed === undefined || size <= next.signed;
}

/** A restore leaves a row, and a row that tells of one has a restore. */
export function restoreProblems(
  restores: readonly DeclaredRestore[],
  { restores: rows, last }: Pick<VerifiedRows, 'restores' | 'last'>,
  before: number,
): Problem[] {
  const problems: Problem[] = [];
  for (const [index, one] of restores.entries()) {
    // A later restore of an older backup has taken the row of this one with it.
    const isThere =
      one.size > before && one.size <= last && restores.slice(index + 1).every(({ kept }) => kept >= one.size);
    if (isThere && !tellingRow(one, rows))
      problems.push({
        ...{ kind: 'restore' as const, rows: [one.size, one.size] as const },
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
  return row && epochIn(row) === epoch ? row : undefined;
}

function epochIn({ detail }: SealedRow): number | undefined {
  try {
    return Number((JSON.parse(detail ?? '{}') as { epoch?: unknown }).epoch);
  } catch {
    return undefined;
  }
}
