/** `npm run stress` as it runs. */
import { spawnSync } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const PASSES = 'test/runner/stress/outcome.test.ts';
/** Fails because no project includes it. */
const FAILS = 'test/runner/fixture/passes.fixture.ts';

const stress = (...args: readonly string[]) =>
  spawnSync(process.execPath, ['test/runner/stress.ts', ...args], { cwd: ROOT, encoding: 'utf8' });

it('prints the failure rate of each file, and keeps the output of failed runs', () => {
  const { status, stdout } = stress(PASSES, FAILS, '--runs', '1', '--load', '1');
  expect(status).toBe(1);
  expect(stdout).toMatch(/\nrun 1 of 1: passed +\d+\.\d s\n/);
  expect(stdout).toContain(`\n${PASSES}: 0 of 1 run failed (0 %) under a load of 1\n`);
  expect(stdout).toContain(`\n${FAILS}: 1 of 1 run failed (100 %) under a load of 1\n`);
  const [, kept] = /FAILED +\d+\.\d s {2}(\S+)\n/.exec(stdout)!;
  expect(readFileSync(kept!, 'utf8')).toContain('No test file');
  rmSync(dirname(kept!), { recursive: true });
});

it('prints JSON, and nothing else to standard output', () => {
  const { status, stdout } = stress(PASSES, '--runs', '1', '--load', '0', '--output', 'json');
  expect(status).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({
    load: 0,
    lateStore: 0,
    pause: 0,
    files: [{ file: PASSES, project: 'unit', failed: 0, runs: [{ passed: true }] }],
  });
});

it('exits with 2 on wrong use', () => {
  for (const args of [[], ['missing.test.ts'], [PASSES, '--runs', 'many']]) {
    const { status, stderr } = stress(...args);
    expect(status).toBe(2);
    expect(stderr).toContain('Usage: npm run stress');
  }
});
