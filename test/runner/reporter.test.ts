/** The reporter as it runs, on files that fail on purpose. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { RunReport } from './report/run-report.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const FIXTURE = 'test/runner/fixture/fails.fixture.ts';

let folder: string;
let output: string;
let report: RunReport;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'meshpass-reporter-'));
  const file = join(folder, 'report.json');
  const args = ['node_modules/vitest/vitest.mjs', 'run', '--config', 'test/runner/fixture/vitest.config.ts'];
  const { MESHPASS_LAB: _, ...rest } = process.env;
  const env = { ...rest, MESHPASS_TEST_REPORT: file };
  const run = spawnSync(process.execPath, args, { cwd: ROOT, encoding: 'utf8', env });
  expect(run.status, run.stderr).toBe(1);
  output = run.stdout;
  report = JSON.parse(readFileSync(file, 'utf8'));
});
afterAll(() => rmSync(folder, { recursive: true }));

it('prints a failure with its diff, place, seed, load, logs and command', () => {
  const failure = output.slice(output.indexOf('FAILED'), output.indexOf('\n\n', output.indexOf('repeat:')));
  expect(failure).toContain(`FAILED  ${FIXTURE} > a suite's (tests) > fails with a diff\n`);
  expect(failure).toMatch(/AssertionError: seed 77: [\s\S]* {2}-.*200[\s\S]* {2}\+.*503/);
  expect(failure).toMatch(/\n {4}at test\/runner\/fixture\/fails\.fixture\.ts:\d+:\d+\n/);
  expect(failure).toContain('\n  seed: 77 (in the failure, selected by MESHPASS_FIXTURE_SEED)\n');
  expect(failure).toMatch(/\n {2}load: \d+\.\d, \d+\.\d, \d+\.\d \(1, 5, 15 min\) on \d+ processors\n/);
  expect(failure).toContain('\n  log of broker:\n    {"msg":"line 11"}\n');
  expect(failure).toContain('{"msg":"line 30"}\n');
  expect(failure).toContain('\n  log of the console:\n    printed by the test\n');
  expect(failure).toContain(
    `npx vitest run --project fixture ${FIXTURE} -t '^a suite'\\''s \\(tests\\) > fails with a diff$'`,
  );
});

it('prints nothing about tests that pass, and no escape sequence into a file', () => {
  expect(output).not.toContain('not printed');
  expect(output).not.toContain('\u001b');
});

it('prints the causes of a failed set-up, and the logs of its parts', () => {
  expect(output).toContain('\n  caused by Error: the port is in use\n');
  expect(output).toContain('\n  log of a broker that does not start:\n    {"msg":"cannot start"}\n');
});

it('prints a line for each finished file', () => {
  expect(output).toMatch(
    /\n\[\d\/3\] FAIL +\d+\.\d s {2}test\/runner\/fixture\/fails\.fixture\.ts \(1 of 4 tests failed/,
  );
  expect(output).toMatch(/\n\[\d\/3\] ok +\d+\.\d s {2}test\/runner\/fixture\/passes\.fixture\.ts \(1 test\)\n/);
  expect(output).toMatch(/\n\[\d\/3\] FAIL .*unloadable\.fixture\.ts \(0 tests, errors outside tests\)\n/);
});

it('ends with a summary', () => {
  const summary = output.slice(output.lastIndexOf('\n\n'));
  expect(summary).toContain(`failed: ${FIXTURE}: a suite's (tests) > fails with a diff\n    AssertionError: seed 77`);
  expect(summary).toContain('Slowest files:\n');
  expect(summary).toContain('skipped: 1 test: FAILED in CI');
  expect(summary).toMatch(/\nTests: 2 passed, 1 failed, 2 skipped, 2 failed outside tests, in 3 files and .*\n$/);
});

it('writes its report as JSON', () => {
  const files = Object.fromEntries(report.files.map((one) => [one.file.split('/').at(-1), one]));
  expect(files['passes.fixture.ts']).toMatchObject({ tests: [{ name: 'passes', state: 'passed' }], errors: [] });
  expect(files['unloadable.fixture.ts']).toMatchObject({ tests: [], errors: ['this file does not load'] });
  const failed = files['fails.fixture.ts']!;
  expect(failed.errors).toEqual(['the set-up failed']);
  expect(failed.tests).toContainEqual({ name: "a suite's (tests) > is skipped", state: 'skipped' });
});
