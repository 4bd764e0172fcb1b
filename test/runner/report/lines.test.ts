/** Plain lines of a test run. */
import { stripVTControlCharacters } from 'node:util';
import { expect, it } from 'vitest';
import { duration, progressLine, summaryLines } from './lines.ts';
import type { FileReport, TestReport } from './run-report.ts';

const tests = (passed: number, failed = 0, skipped = 0): TestReport[] => [
  ...Array.from({ length: passed }, (): TestReport => ({ name: 'passes', state: 'passed' })),
  ...Array.from({ length: failed }, (): TestReport => ({ name: 'fails', state: 'failed', error: 'a\nb\nc\nd' })),
  ...Array.from({ length: skipped }, (): TestReport => ({ name: 'waits', state: 'skipped', reason: 'no ztunnel' })),
];
const file = (all: readonly TestReport[], errors: readonly string[] = []): FileReport => ({
  file: 'test/x.test.ts',
  ms: 12_340,
  tests: all,
  errors,
});
const progress = (one: FileReport) => stripVTControlCharacters(progressLine(37, 420, one));

it('describes a finished file in one line', () => {
  expect(progress(file(tests(14)))).toBe('[ 37/420] ok    12.3 s  test/x.test.ts (14 tests)');
  expect(progress(file(tests(1)))).toContain('(1 test)');
  expect(progress(file(tests(12, 2, 1)))).toBe(
    '[ 37/420] FAIL  12.3 s  test/x.test.ts (2 of 15 tests failed, 1 skipped)',
  );
  expect(progress(file([], ['does not load']))).toBe(
    '[ 37/420] FAIL  12.3 s  test/x.test.ts (0 tests, errors outside tests)',
  );
});

it('formats times', () => {
  expect([0, 119_900, 120_000, 179_600].map(duration)).toEqual(['0.0 s', '119.9 s', '2 min 0 s', '3 min 0 s']);
});

it('ends with failures in brief, skips by reason, and totals', () => {
  const report = { files: [file(tests(2, 1, 2))], errors: ['unhandled'] };
  expect(summaryLines(report, 61_000)).toEqual([
    'failed: test/x.test.ts: fails',
    '    a',
    '    b',
    '    c',
    'failed: outside any file',
    '    unhandled',
    'skipped: 2 tests: no ztunnel',
    'Tests: 2 passed, 1 failed, 2 skipped, 1 failed outside tests, in 1 file and 61.0 s',
  ]);
});
