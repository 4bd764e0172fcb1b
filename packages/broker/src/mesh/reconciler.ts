/**
 * Applies the newest plan until it succeeds, and then periodically to repair manual changes. Only one run is in
 * progress at a time. A newer plan replaces the one that is waiting.
 */
import { type MeshpassError, toMeshpassError } from '@meshpass/identity';
import { pause } from '../base/index.ts';
import { backoff } from './backoff.ts';

export interface ReconcileOptions<Plan> {
  /** Applies a plan. Returns the milliseconds after which it must run again even without a change. */
  readonly apply: (plan: Plan) => Promise<number | undefined>;
  /** Called after every successful run. */
  readonly onApplied: (plan: Plan) => void;
  readonly onFailed: (error: MeshpassError, plan: Plan) => void;
  /** Interval between runs without a change, milliseconds. */
  readonly resync: number;
  /** Resolves when this broker becomes active. Nothing is applied before then. If absent, it starts immediately. */
  readonly activated?: Promise<void> | undefined;
}

/** Maximum pause after a failure, ms. */
const LONGEST_RETRY_MS = 5_000;
/** Minimum pause between runs, ms. */
const LEAST_PAUSE_MS = 125;

/** Starts the reconciler. */
export function startReconciler<Plan>(options: ReconcileOptions<Plan>) {
  const stop = new AbortController();
  let wanted: { readonly plan: Plan } | undefined;
  let changed = new AbortController();

  let failures = 0;

  /** Applies a plan. Returns the pause before the next run, milliseconds. */
  const attempt = async (plan: Plan): Promise<number> => {
    try {
      const nextRun = await options.apply(plan);
      if (stop.signal.aborted) return 0;
      failures = 0;
      options.onApplied(plan);
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
