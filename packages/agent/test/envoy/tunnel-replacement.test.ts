/** Limits on the replacement of a workspace's tunnels, especially for edges that announce their shutdown. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { TunnelReplacement } from '../../src/envoy/tunnel-replacement.ts';

let generations: number[];
let replacement: TunnelReplacement;
beforeEach(() => {
  vi.useFakeTimers();
  generations = [];
  replacement = new TunnelReplacement(
    () => 0.9,
    (generation) => generations.push(generation),
    () => Date.now(),
  );
});
afterEach(() => {
  replacement.close();
  vi.useRealTimers();
});

test('replaces tunnels once for many edges that drain at the same time', () => {
  for (const age of [500, 60_000, 3_000]) replacement.draining(age);
  vi.advanceTimersByTime(2_000);
  expect(generations).toEqual([1]);
  expect(replacement.taken()).toBe(true);
  // Edges repeat the announcement while a tunnel is in use there.
  for (let waited = 2_000; waited < 30_000; waited += 2_000) {
    for (const age of [500, 60_000, 3_000]) replacement.draining(age + waited);
    vi.advanceTimersByTime(2_000);
  }
  expect(generations).toEqual([1]);
});

test('replaces tunnels again for one that was opened after the last replacement', () => {
  replacement.draining(500);
  vi.advanceTimersByTime(2_000);
  replacement.taken();
  vi.advanceTimersByTime(10_000);
  replacement.draining(9_000);
  vi.advanceTimersByTime(2_000);
  expect(generations).toEqual([1, 2]);
});

test('reports once for each generation that Envoy accepted it', () => {
  expect(replacement.taken()).toBe(false);
  replacement.draining(500);
  vi.advanceTimersByTime(2_000);
  expect([replacement.taken(), replacement.taken()]).toEqual([true, false]);
});

test('does not repeat an immediate replacement for an edge, or count it against the limit for edges', () => {
  replacement.draining(500);
  replacement.atOnce();
  vi.advanceTimersByTime(2_000);
  expect(generations).toEqual([1]);
  expect(replacement.taken()).toBe(true);
  for (let n = 0; n < 10; n++) replacement.atOnce();
  expect(replacement.forEdges).toBe(0);
  replacement.draining(0);
  vi.advanceTimersByTime(2_000);
  expect([generations.length, replacement.forEdges]).toEqual([12, 1]);
});

/**
 * Makes an edge announce its shutdown every tenth of a second. @param lasts duration, ms. @returns times of the
 * replacements, ms
 */
function lies(lasts: number): readonly number[] {
  const times: number[] = [];
  for (let passed = 0; passed < lasts; passed += 100) {
    replacement.draining(0);
    const before = generations.length;
    vi.advanceTimersByTime(100);
    if (generations.length > before) times.push(passed);
    replacement.taken();
  }
  return times;
}

test('limits a constantly announcing edge to four replacements, five seconds apart, and then one every twelve seconds', () => {
  const times = lies(600_000);
  expect(times.length).toBeGreaterThan(40);
  const gaps = times.slice(1).map((at, n) => at - times[n]!);
  expect(Math.min(...gaps)).toBeGreaterThanOrEqual(5_000);
  for (const start of times) {
    expect(times.filter((at) => at >= start && at < start + 120_000).length).toBeLessThanOrEqual(14);
  }
});

test.each([20_000, 60_000, 300_000])(
  'acts on a draining edge in time although another one has announced its shutdown for %i ms',
  (lasts) => {
    lies(lasts);
    const before = generations.length;
    // A tunnel opened at the other edge after the last lie, 20 seconds before that edge cuts it.
    let cutIn = 20_000;
    for (; generations.length === before && cutIn > 0; cutIn -= 2_000) {
      replacement.draining(20_000 - cutIn);
      vi.advanceTimersByTime(2_000);
    }
    expect(cutIn).toBeGreaterThan(2_000);
  },
);

test('replaces nothing after the agent has closed', () => {
  replacement.draining(0);
  replacement.close();
  vi.advanceTimersByTime(10_000);
  expect(generations).toEqual([]);
});
