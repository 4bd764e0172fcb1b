/** Scheduling of tasks: never twice at once, with backoff after failures, and as the broker requests. */
import { MeshpassError } from '@meshpass/identity';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { TaskTimers } from '../../src/session/task-timers.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function tasks({ random = 0.5, waits = false } = {}) {
  const runs: PromiseWithResolvers<void>[] = [];
  const timers = new TaskTimers<'heartbeat'>({
    run: () => {
      const run = Promise.withResolvers<void>();
      runs.push(run);
      return run.promise;
    },
    longestPause: () => 8_000,
    failed: () => true,
    waitsForOthers: () => waits,
    succeeded: () => {},
    random: () => random,
  });
  return { timers, runs };
}

describe('a task that becomes due while it runs', () => {
  it('does not run twice at once, and runs again after its end', async () => {
    const { timers, runs } = tasks();
    timers.later('heartbeat', 0);
    await vi.advanceTimersByTimeAsync(0);
    timers.later('heartbeat', 0);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(runs).toHaveLength(1);
    expect(timers.isDue('heartbeat')).toBe(true);
    runs[0]!.resolve();
    await vi.advanceTimersByTimeAsync(0);
    expect(runs).toHaveLength(2);
    runs[1]!.resolve();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(runs).toHaveLength(2);
  });

  it('waits for its pause after a failure', async () => {
    const { timers, runs } = tasks();
    timers.later('heartbeat', 0);
    await vi.advanceTimersByTimeAsync(0);
    timers.later('heartbeat', 0);
    await vi.advanceTimersByTimeAsync(0);
    runs[0]!.reject(new Error('away'));
    await vi.advanceTimersByTimeAsync(700);
    expect(runs).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(100);
    expect(runs).toHaveLength(2);
  });

  it('does not run again if it was done in another way', async () => {
    const { timers, runs } = tasks();
    timers.later('heartbeat', 0);
    await vi.advanceTimersByTimeAsync(0);
    timers.later('heartbeat', 0);
    await vi.advanceTimersByTimeAsync(0);
    timers.settle('heartbeat');
    runs[0]!.resolve();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(runs).toHaveLength(1);
  });
});

it('does not repeat a task that waited for others and then succeeded itself', async () => {
  const { timers, runs } = tasks({ waits: true });
  timers.later('heartbeat', 0);
  await vi.advanceTimersByTimeAsync(0);
  runs[0]!.reject(new Error('away'));
  await vi.advanceTimersByTimeAsync(8_000);
  runs[1]!.resolve();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(runs).toHaveLength(2);
});

it.each([
  ['no sooner than the broker asked', 0, 9_999],
  ['up to five seconds later, since many agents received the same time', 0.999, 14_900],
])('repeats a refused task %s', async (_, random, silent) => {
  const { timers, runs } = tasks({ random });
  timers.later('heartbeat', 0);
  await vi.advanceTimersByTimeAsync(0);
  runs[0]!.reject(new MeshpassError('overloaded', 'Too many.', { retryAfter: 10 }));
  await vi.advanceTimersByTimeAsync(silent);
  expect(runs).toHaveLength(1);
  await vi.advanceTimersByTimeAsync(200);
  expect(runs).toHaveLength(2);
});
