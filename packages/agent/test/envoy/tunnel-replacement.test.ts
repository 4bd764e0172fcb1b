/** How often a workspace replaces its tunnels, above all because an edge says that it is about to end. */
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

test('many edges that drain at once cost one replacement', () => {
  for (const age of [500, 60_000, 3_000]) replacement.draining(age);
  vi.advanceTimersByTime(2_000);
  expect(generations).toEqual([1]);
  expect(replacement.taken()).toBe(true);
  // They say so again while something is under way there.
  for (let waited = 2_000; waited < 30_000; waited += 2_000) {
    for (const age of [500, 60_000, 3_000]) replacement.draining(age + waited);
    vi.advanceTimersByTime(2_000);
  }
  expect(generations).toEqual([1]);
});

test('a tunnel that was opened after the last replacement costs another one', () => {
  replacement.draining(500);
  vi.advanceTimersByTime(2_000);
  replacement.taken();
  vi.advanceTimersByTime(10_000);
  replacement.draining(9_000);
  vi.advanceTimersByTime(2_000);
  expect(generations).toEqual([1, 2]);
});

test('Envoy is asked once for each generation whether it took it', () => {
  expect(replacement.taken()).toBe(false);
  replacement.draining(500);
  vi.advanceTimersByTime(2_000);
  expect([replacement.taken(), replacement.taken()]).toEqual([true, false]);
});

test('what is replaced at once is not replaced again for an edge, and takes nothing from what edges may ask for', () => {
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

/** @param lasts ms for which an edge says it every tenth of a second. @returns when tunnels were replaced, ms */
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

test('an edge that says so all the time has tunnels replaced four times, five seconds apart, and then once in twelve seconds', () => {
  const times = lies(600_000);
  expect(times.length).toBeGreaterThan(40);
  const gaps = times.slice(1).map((at, n) => at - times[n]!);
  expect(Math.min(...gaps)).toBeGreaterThanOrEqual(5_000);
  for (const start of times) {
    expect(times.filter((at) => at >= start && at < start + 120_000).length).toBeLessThanOrEqual(14);
  }
});

test.each([20_000, 60_000, 300_000])(
  'an edge that has said so for %i ms keeps no other one that drains from being heard in time',
  (lasts) => {
    lies(lasts);
    const before = generations.length;
    // A tunnel that was opened at the other edge after the last lie, and 20 seconds until that edge cuts it.
    let cutIn = 20_000;
    for (; generations.length === before && cutIn > 0; cutIn -= 2_000) {
      replacement.draining(20_000 - cutIn);
      vi.advanceTimersByTime(2_000);
    }
    expect(cutIn).toBeGreaterThan(2_000);
  },
);

test('an agent that ends replaces nothing', () => {
  replacement.draining(0);
  replacement.close();
  vi.advanceTimersByTime(10_000);
  expect(generations).toEqual([]);
});
