/** One use of a credential at one layer, and how long after the cause it was refused for the first time. */
import type { DrillLayer, DrillRow } from '@meshpass/identity/drill-report';

/** `unclear`: neither taken nor refused, for example because nothing answered. It proves nothing. */
export interface Verdict {
  readonly verdict: 'taken' | 'refused' | 'unclear';
  readonly how: string;
}

export interface Attempt {
  readonly layer: DrillLayer;
  /** What is tried, as text. */
  readonly tried: string;
  /** Whether it must work while the session lives. Otherwise its refusal afterwards proves nothing. */
  readonly before: 'taken' | 'refused';
  /** How long after the cause it may be taken, ms. */
  readonly limit: number;
  /** Between two uses, ms. */
  readonly pause?: number;
  /** Default: replays. */
  readonly part?: 'replays' | 'left';
  readonly use: () => Promise<Verdict>;
}

const AGAIN_MS = 25;

/** How long the first success may take, and what is done between two attempts. */
export interface Patience {
  readonly limit: number;
  readonly between: () => Promise<unknown>;
}

/**
 * Uses each while the session lives, and retries what must work until it does or the limit has passed.
 * @returns what does not behave as a live credential does, by attempt
 */
export async function tryBefore(
  attempts: readonly Attempt[],
  patience: Patience,
): Promise<{ readonly rows: DrillRow[]; readonly unfit: ReadonlyMap<Attempt, string> }> {
  const unfit = new Map<Attempt, string>();
  const rows: DrillRow[] = [];
  await Promise.all(
    attempts.map(async (attempt) => {
      const { verdict, how } = await (attempt.before === 'taken' ? untilTaken(attempt, patience) : used(attempt));
      if (verdict !== attempt.before) unfit.set(attempt, `${verdict} while the session lived (${how})`);
      else if (verdict === 'taken') rows.push(row('before', attempt, 'lives', how));
    }),
  );
  return { rows, unfit };
}

/** Uses each repeatedly until it is refused or its limit has passed. @param cause instant of the cause, performance.now() */
export async function tryAfter(
  attempts: readonly Attempt[],
  unfit: ReadonlyMap<Attempt, string>,
  cause: number,
): Promise<DrillRow[]> {
  return await Promise.all(
    attempts.map(async (attempt) => {
      const why = unfit.get(attempt);
      if (why !== undefined)
        return row(attempt.part ?? 'replays', attempt, 'not_tried', `it was ${why}, so its end proves nothing`);
      return await untilRefused(attempt, cause);
    }),
  );
}

async function untilTaken(attempt: Attempt, { limit, between }: Patience): Promise<Verdict> {
  const deadline = performance.now() + limit;
  for (;;) {
    const verdict = await used(attempt);
    if (verdict.verdict === 'taken' || performance.now() > deadline) return verdict;
    await between();
  }
}

async function untilRefused(attempt: Attempt, cause: number): Promise<DrillRow> {
  for (;;) {
    const { verdict, how } = await used(attempt);
    const ms = Math.max(0, Math.round(performance.now() - cause));
    const times = { ms, limit_ms: attempt.limit };
    const part = attempt.part ?? 'replays';
    if (verdict === 'refused') return { ...row(part, attempt, 'dead', how), ...times };
    if (ms > attempt.limit) {
      const outcome = verdict === 'taken' ? 'stale' : 'broken';
      return { ...row(part, attempt, outcome, how), ...times };
    }
    await new Promise((resolve) => setTimeout(resolve, attempt.pause ?? AGAIN_MS));
  }
}

/** Uses each once more, long after it must be dead. */
export async function tryAgain(attempts: readonly Attempt[], unfit: ReadonlyMap<Attempt, string>): Promise<DrillRow[]> {
  return await Promise.all(
    attempts
      .filter((attempt) => !unfit.has(attempt))
      .map(async (attempt) => {
        const { verdict, how } = await used(attempt);
        const outcome = verdict === 'refused' ? 'dead' : verdict === 'taken' ? 'stale' : 'broken';
        return row('rebuild', { ...attempt, tried: `still: ${attempt.tried}` }, outcome, how);
      }),
  );
}

export function row(
  part: DrillRow['part'],
  { layer, tried }: Pick<Attempt, 'layer' | 'tried'>,
  outcome: DrillRow['outcome'],
  how: string,
): DrillRow {
  return { part, layer, tried: tried.slice(0, 300), outcome, how: how.slice(0, 300) };
}

async function used({ use }: Attempt): Promise<Verdict> {
  try {
    return await use();
  } catch (thrown) {
    return { verdict: 'unclear', how: (thrown as Error).message };
  }
}
