/**
 * Keeps applying the newest plan until it succeeds, and then applies it again periodically to undo manual changes.
 * There is never more than one run at a time. A newer plan replaces the one that is waiting.
 */
import { type MeshpassError, toMeshpassError } from '@meshpass/identity';
import { pause } from '../base/index.ts';
import { backoff } from './backoff.ts';

export interface ReconcileOptions<Plan> {
  /**
   * Applies a plan. Returns the number of milliseconds after which it must be applied again even if nothing has
   * changed.
   */
  readonly apply: (plan: Plan) => Promise<number | undefined>;
  /** Called after every successful run. */
  readonly onApplied?: (plan: Plan) => void;
  readonly onFailed: (error: MeshpassError, plan: Plan) => void;
  /** How often to apply the plan again if it has not changed, in milliseconds. */
  readonly resync: number;
  /**
   * Resolves when this broker becomes active. Nothing is applied before that. If absent, the reconciler starts
   * immediately.
   */
  readonly activated?: Promise<void> | undefined;
}

/** The maximum pause after a failure, in milliseconds. */
const LONGEST_RETRY_MS = 5_000;
/** The minimum pause between two runs, in milliseconds. */
const LEAST_PAUSE_MS = 125;

/** Starts the reconciler, which waits for its first plan. */
export function startReconciler<Plan>(options: ReconcileOptions<Plan>) {
  const stop = new AbortController();
  let wanted: { readonly plan: Plan } | undefined;
  let changed = new AbortController();

  let failures = 0;

  /** Applies a plan and returns how long to pause before the next run, in milliseconds. */
  const attempt = async (plan: Plan): Promise<number> => {
    try {
      const nextRun = await options.apply(plan);
      if (stop.signal.aborted) return 0;
      failures = 0;
      options.onApplied?.(plan);
      return Math.min(options.resync, nextRun ?? Number.POSITIVE_INFINITY);
    } catch (thrown) {
      if (stop.signal.aborted) return 0;
      options.onFailed(toMeshpassError(thrown), plan);
      return backoff(failures++, LONGEST_RETRY_MS);
    }
  };

  const run = async (): Promise<void> => {
    await options.activated;
    while (!stop.signal.aborted) {
      const waitFor = AbortSignal.any([stop.signal, changed.signal]);
      const rest = wanted ? await attempt(wanted.plan) : options.resync;
      // A change does not shorten this pause, so that an API that fails at once is not called without a pause.
      if (failures > 0) await pause(LEAST_PAUSE_MS, stop.signal);
      await pause(Math.max(rest, LEAST_PAUSE_MS), waitFor);
    }
  };
  void run();

  return {
    want: (plan: Plan) => {
      wanted = { plan };
      const before = changed;
      changed = new AbortController();
      before.abort();
    },
    close: () => stop.abort(),
  };
}
