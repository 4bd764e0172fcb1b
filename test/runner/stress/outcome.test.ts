/** Outcomes of repeated runs. */
import { expect, it } from 'vitest';
import { outcomeLine, type Run, runLine } from './outcome.ts';

const passed: Run = { passed: true, ms: 1_234 };
const failed: Run = { passed: false, ms: 12_345, output: '/tmp/x/a.3.txt' };

it('describes one run', () => {
  expect(runLine(3, 20, passed)).toBe('run  3 of 20: passed   1.2 s');
  expect(runLine(3, 20, failed)).toBe('run  3 of 20: FAILED  12.3 s  /tmp/x/a.3.txt');
});

it('describes the failure rate of a file', () => {
  const of = (runs: readonly Run[]) => outcomeLine({ file: 'a.test.ts', project: 'unit', runs }, 2);
  expect(of([failed, ...Array.from({ length: 19 }, () => passed)])).toBe(
    'a.test.ts: 1 of 20 runs failed (5 %) under a load of 2',
  );
  expect(of([failed, passed, passed])).toContain('(33 %)');
  expect(of([passed])).toContain('0 of 1 run failed (0 %)');
});
