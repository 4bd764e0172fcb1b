/**
 * Attempts to use a credential at a particular layer of the system, and measures how long it takes until the credential
 * is refused after the session has been ended.
 */
import type { DrillLayer, DrillRow } from '@meshpass/identity/drill-report';

/**
 * The result of an attempt. An `unclear` result means that the credential was neither accepted nor refused, for example
 * because no server responded, so it proves nothing.
 */
export interface Verdict {
  readonly verdict: 'taken' | 'refused' | 'unclear';
  readonly how: string;
}

export interface Attempt {
  readonly layer: DrillLayer;
  /** Describes the attempt in the report. */
  readonly tried: string;
  /**
   * The verdict that the attempt must produce while the session is live. If it produces a different one, a later
   * refusal proves nothing. Defaults to `taken`.
   */
  readonly before?: 'refused';
  /** How long to wait between attempts, in milliseconds. */
  readonly pause?: number;
  /** The part of the report that contains the result. Defaults to `replays`. */
  readonly part?: 'replays' | 'left';
  readonly use: () => Promise<Verdict>;
}

const AGAIN_MS = 25;
/**
 * How long the mesh may take to refuse the credentials of an ended session. This includes the write to Kubernetes and
 * istiod's push to every Envoy.
 */
export const MESH_LIMIT_MS = 10_000;
const IN_MESH: ReadonlySet<DrillLayer> = new Set([
  'mesh gateway',
  'sidecar',
  'TokenReview',
  'ServiceAccount',
  'root DENY',
]);

/**
 * Returns how long a layer may still accept a credential after the session has been ended, in milliseconds.
 * @param limit the time limit of the edge and the broker
 */
export function limitAt(layer: DrillLayer, limit: number): number {
  return IN_MESH.has(layer) ? MESH_LIMIT_MS : limit;
}

/** Defines how long to retry, in milliseconds, and what to do between attempts. */
export interface RetryOptions {
  readonly limit: number;
  readonly between: () => Promise<unknown>;
}

/**
 * Uses each credential while the session is live. Attempts that must succeed are retried until they do or until the
 * time limit has passed.
 * @returns the rows for the credentials that work, and the reasons why other attempts are unfit, which means that they
 *   did not behave as expected even with live credentials
 */
export async function attemptBeforeCause(
  attempts: readonly Attempt[],
  patience: RetryOptions,
): Promise<{ readonly rows: DrillRow[]; readonly unfit: ReadonlyMap<Attempt, string> }> {
  const unfit = new Map<Attempt, string>();
  const rows: DrillRow[] = [];
  await Promise.all(
    attempts.map(async (attempt) => {
      const use = () => used(attempt);
      const { before = 'taken' } = attempt;
      const { verdict, how } =
        before === 'taken' ? await repeatUntil(use, (one) => one.verdict === 'taken', patience) : await use();
      if (verdict !== before) unfit.set(attempt, `${verdict} while the session was live (${how})`);
      else if (verdict === 'taken') rows.push(row('before', attempt, 'lives', how));
    }),
  );
  return { rows, unfit };
}

/**
 * Uses each credential repeatedly until it is refused or its time limit has passed.
 * @param cause when the session was ended, as returned by performance.now()
 * @param limit the time limit of the edge and the broker, in milliseconds
 */
export async function attemptAfterCause(
  attempts: readonly Attempt[],
  unfit: ReadonlyMap<Attempt, string>,
  cause: number,
  limit: number,
): Promise<DrillRow[]> {
  return await Promise.all(
    attempts.map(async (attempt) => {
      const why = unfit.get(attempt);
      if (why !== undefined)
        return row(attempt.part ?? 'replays', attempt, 'not_tried', `it was ${why}, so its end proves nothing`);
      return await untilRefused(attempt, cause, limitAt(attempt.layer, limit));
    }),
  );
}

/**
 * Repeats a step until its result is good or the time limit has passed.
 * @returns the result of the last step
 */
export async function repeatUntil<T>(
  step: () => Promise<T>,
  isGood: (result: T) => boolean,
  { limit, between }: RetryOptions,
): Promise<T> {
  const deadline = performance.now() + limit;
  for (;;) {
    const result = await step();
    if (isGood(result) || performance.now() > deadline) return result;
    await between();
  }
}

async function untilRefused(attempt: Attempt, cause: number, limit: number): Promise<DrillRow> {
  for (;;) {
    const { verdict, how } = await used(attempt);
    const ms = Math.max(0, Math.round(performance.now() - cause));
    const times = { ms, limit_ms: limit };
    const part = attempt.part ?? 'replays';
    if (verdict === 'refused') return { ...row(part, attempt, 'dead', how), ...times };
    if (ms > limit) {
      const outcome = verdict === 'taken' ? 'stale' : 'broken';
      return { ...row(part, attempt, outcome, how), ...times };
    }
    await new Promise((resolve) => setTimeout(resolve, attempt.pause ?? AGAIN_MS));
  }
}

/** Uses each credential one last time, long after it should have stopped working. */
export async function attemptAgain(
  attempts: readonly Attempt[],
  unfit: ReadonlyMap<Attempt, string>,
): Promise<DrillRow[]> {
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

/** Builds a row of the drill report. */
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
