import { describe, expect, it } from 'vitest';
import { findWaits, waitViolations } from './waits.ts';

const find = (text: string) => findWaits('a.test.ts', text).map(({ kind, code }) => `${kind} ${code}`);

describe('findWaits', () => {
  it.each([
    ['await new Promise((resolve) => setTimeout(resolve, 500));', 'setTimeout(resolve, 500)'],
    ['await new Promise((r) => { setTimeout(r, 2 * 1_000); });', 'setTimeout(r, 2 * 1_000)'],
    ['const SOON = 60_000; new Promise((r) => setTimeout(r, SOON));', 'setTimeout(r, SOON)'],
    ['new Promise((r) => setTimeout(r, end - Date.now()));', 'setTimeout(r, end - Date.now())'],
    ["import { setTimeout } from 'node:timers/promises'; await setTimeout(50);", 'setTimeout(50)'],
    ["import { setTimeout as rest } from 'node:timers/promises'; await rest(50);", 'rest(50)'],
    ["import { pause } from './terms.ts'; await pause(50);", 'pause(50)'],
    ['const nap = (ms) => new Promise((r) => setTimeout(r, ms)); await nap(50);', 'nap(50)'],
    ['function nap(ms) { return new Promise((r) => setTimeout(r, ms)); } nap(50);', 'nap(50)'],
    ['setTimeout(() => answer(), 300);', 'setTimeout(() => answer(), 300)'],
    ['setTimeout(reject, 2_000);', 'setTimeout(reject, 2_000)'],
    ['while (!ok()) await new Promise((r) => setTimeout(r, 5_000));', 'setTimeout(r, 5_000)'],
    ['for (const one of all) await new Promise((r) => setTimeout(r, 10));', 'setTimeout(r, 10)'],
  ])('finds the sleep in %s', (text, code) => {
    expect(find(text)).toEqual([`sleep ${code}`]);
  });

  it.each([
    ['fetch(url, { signal: AbortSignal.timeout(5_000) });', 'AbortSignal.timeout(5_000)'],
    ['expect.poll(look, { timeout: 8000 }).toBe(1);', 'timeout: 8000'],
    ['const soon = { timeout: 3_000, interval: 20 };', 'timeout: 3_000'],
    ['vi.waitFor(look, { timeout: 5_000 });', 'timeout: 5_000'],
    ['vi.waitFor(look, 3_000);', 'vi.waitFor(look, 3_000)'],
    ['vi.waitFor(look);', 'vi.waitFor(look)'],
    ['await until(look, Boolean, 5);', 'until(look, Boolean, 5)'],
    ['socket.setTimeout(1_000);', 'socket.setTimeout(1_000)'],
    ["it('works', run, 20_000);", "it('works', run, 20_000)"],
    ["it.each(all)('works', run, 20_000);", "it.each(all)('works', run, 20_000)"],
    ["test('works', { timeout: 20_000 }, run);", 'timeout: 20_000'],
    ['expect(Date.now() - began).toBeLessThan(2_000);', 'expect(Date.now() - began).toBeLessThan(2_000)'],
  ])('finds the deadline in %s', (text, code) => {
    expect(find(text)).toEqual([`deadline ${code}`]);
  });

  it.each([
    'while (!ok()) await new Promise((r) => setTimeout(r, 50));',
    'for (;;) await new Promise((r) => setTimeout(r, 50));',
    'new Promise((r) => setTimeout(r, 0));',
    'const nap = (ms) => new Promise((r) => setTimeout(r, ms));',
    'setTimeout(reject, 20_000);',
    'expect.poll(look).toBe(1);',
    'vi.waitFor(look, { timeout: 60_000 });',
    'until(look, Boolean);',
    'until(look, Boolean, 40);',
    "it('works', run, 60_000);",
    'expect(lines).toBeLessThan(10);',
    "const program = 'setTimeout(resolve, 500)';",
  ])('accepts %s', (text) => {
    expect(find(text)).toEqual([]);
  });
});

describe('waitViolations', () => {
  const [wait] = findWaits('a.test.ts', '\nsetTimeout(go, 300);');
  const entry = { file: 'a.test.ts', code: 'setTimeout(go, 300)', reason: 'a late answer' };

  it('reports a wait without an entry with its line and what to do', () => {
    expect(waitViolations([wait!], [])).toEqual([
      expect.stringMatching(
        /^a\.test\.ts:2: fixed sleep `setTimeout\(go, 300\)`: wait for .*waits\.txt with a reason\.$/,
      ),
    ]);
  });

  it('allows one wait by each entry', () => {
    expect(waitViolations([wait!], [entry])).toEqual([]);
    expect(waitViolations([wait!, wait!], [entry])).toHaveLength(1);
  });

  it('reports an entry that matches nothing', () => {
    expect(waitViolations([], [entry])).toEqual([expect.stringContaining('matches nothing in a.test.ts: remove it.')]);
  });
});
