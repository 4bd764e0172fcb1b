/** Last lines of CI. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { FileReport, RunReport, TestReport } from './report/run-report.ts';
import { describeTotals } from './totals.ts';

const test = (state: TestReport['state'], more: Partial<TestReport> = {}): TestReport => ({
  name: 'a title',
  state,
  ...more,
});
const fileOf = (tests: readonly TestReport[], more: Partial<FileReport> = {}): FileReport => ({
  file: 'test/docs/a.test.ts',
  ms: 1_000,
  tests,
  errors: [],
  ...more,
});
const run = (...files: readonly FileReport[]): RunReport => ({ files, errors: [] });

it('prints the ten slowest files of all projects', () => {
  const files = Array.from({ length: 12 }, (_, at) => fileOf([], { file: `${at}.test.ts`, ms: at * 1_000 }));
  const { lines } = describeTotals([run(...files.slice(0, 6)), run(...files.slice(6))]);
  const slowest = lines.slice(1, 11).map((line) => line.trim());
  expect(lines[0]).toBe('Slowest files:');
  expect(slowest[0]).toBe('11.0 s  11.test.ts');
  expect(slowest[9]).toBe('2.0 s  2.test.ts');
  expect(lines).toHaveLength(12);
});

it('repeats each failure before the totals, with the first lines of its message', () => {
  const error = ['AssertionError: 503 is not 200', ...Array.from({ length: 100 }, (_, at) => `line ${at}`)].join('\n');
  const { lines } = describeTotals([run(fileOf([test('passed'), test('failed', { error })]))]);
  expect(lines.slice(0, 3)).toEqual([
    'failed: test/docs/a.test.ts: a title',
    '    AssertionError: 503 is not 200',
    '    line 0',
  ]);
  expect(lines).not.toContain('    line 50');
  expect(lines.at(-1)).toBe('1 passed, 1 failed');
});

it('counts a skipped test without a reason as failed', () => {
  const { lines, otherFailures } = describeTotals([run(fileOf([test('passed'), test('skipped')]))]);
  expect(lines[0]).toContain('skipped: test/docs/a.test.ts: a title: FAILED');
  expect(lines.at(-1)).toBe('1 passed, 1 failed');
  expect(otherFailures).toBe(1);
});

it('names each test that may be skipped, with its reason', () => {
  const skipped = ['a', 'b'].map((name) => test('skipped', { name, reason: 'a shallow clone lacks it' }));
  const { lines, otherFailures } = describeTotals([run(fileOf(skipped))]);
  expect(lines).toEqual([
    'skipped: test/docs/a.test.ts: a: a shallow clone lacks it',
    'skipped: test/docs/a.test.ts: b: a shallow clone lacks it',
    '2 skipped',
    '0 passed, 0 failed',
  ]);
  expect(otherFailures).toBe(0);
});

it('counts a file that failed outside its tests, and an error outside any file', () => {
  const { lines, otherFailures } = describeTotals([
    run(fileOf([], { errors: ['does not load', 'nor close'] })),
    { files: [], errors: ['unhandled'] },
  ]);
  expect(lines).toContain('    does not load');
  expect(lines).toContain('    unhandled');
  expect(lines.at(-1)).toBe('0 passed, 2 failed');
  expect(otherFailures).toBe(2);
});

it('prints the totals alone on the last line, and exits with 1 if a report is missing', () => {
  const folder = mkdtempSync(join(tmpdir(), 'meshpass-totals-'));
  try {
    const report = join(folder, 'unit.json');
    writeFileSync(report, JSON.stringify(run(fileOf([test('passed'), test('skipped')]))));
    const totals = (...files: readonly string[]) =>
      spawnSync(process.execPath, [join(import.meta.dirname, 'totals.ts'), ...files], { encoding: 'utf8' });
    const { status, stdout } = totals(report);
    expect(stdout).toMatch(/\n1 passed, 1 failed\n$/);
    expect(status).toBe(2);
    expect(totals(join(folder, 'missing.json')).status).toBe(1);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
