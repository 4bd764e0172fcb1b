/** Last lines of CI. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, it } from 'vitest';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'meshpass-totals-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

interface Test {
  readonly file: string;
  readonly fullName: string;
  readonly status: string;
  readonly failureMessages?: readonly string[];
}

/** Reports as Vitest writes them. */
function totals(...reports: readonly (readonly Test[])[]) {
  return totalsWith({}, ...reports);
}

function totalsWith(more: NodeJS.ProcessEnv, ...reports: readonly (readonly Test[])[]) {
  const { MESHPASS_ZTUNNEL: _, ...env } = process.env;
  const files = reports.map((tests, at) => {
    const testResults = tests.map(({ file, ...one }) => ({
      name: join(ROOT, file),
      startTime: 0,
      endTime: 90_000,
      assertionResults: [one],
    }));
    const count = (status: string) => tests.filter((one) => one.status === status).length;
    const report = { testResults, numPassedTests: count('passed'), numFailedTests: count('failed') };
    writeFileSync(join(folder, `${at}.json`), JSON.stringify(report));
    return join(folder, `${at}.json`);
  });
  const options = { cwd: ROOT, encoding: 'utf8', env: { ...env, ...more } } as const;
  return spawnSync(process.execPath, ['.ci/totals.mjs', ...files], options);
}

const of = (status: string, fullName = 'a title', file = 'test/docs/a.test.ts') => ({ file, fullName, status });

it('are the minutes of each suite, and the totals alone on the last line', () => {
  const { status, stdout } = totals([of('passed'), of('failed')], [of('passed')]);
  expect(status).toBe(0);
  expect(stdout).toContain('    4.5  test/docs\n');
  expect(stdout).toMatch(/\n2 passed, 1 failed\n$/);
});

it('repeat each failure before the totals, with the first lines of its message', () => {
  const message = ['AssertionError: 503 is not 200', ...Array.from({ length: 100 }, (_, at) => `line ${at}`)].join(
    '\n',
  );
  const { stdout } = totals([of('passed'), { ...of('failed'), failureMessages: [message] }]);
  expect(stdout).toMatch(
    /\nfailed: test\/docs\/a\.test\.ts: a title\n {4}AssertionError: 503 is not 200\n {4}line 0\n/,
  );
  expect(stdout).not.toContain('line 50');
  expect(stdout).toMatch(/\n1 passed, 1 failed\n$/);
});

it.each(['skipped', 'pending', 'todo'])('count a test that is %s and not listed as failed, and name it', (status) => {
  const result = totals([of('passed'), of(status, 'PostgreSQL is not tested')]);
  expect(result.status).toBe(2);
  expect(result.stdout).toContain('skipped: test/docs/a.test.ts: PostgreSQL is not tested: FAILED');
  expect(result.stdout).toMatch(/\n1 passed, 1 failed\n$/);
});

it('count a file that failed before its tests', () => {
  const file = join(folder, 'unloaded.json');
  const testResults = [
    { name: join(ROOT, 'test/docs/a.test.ts'), status: 'failed', startTime: 0, endTime: 0, assertionResults: [] },
  ];
  writeFileSync(file, JSON.stringify({ testResults, numPassedTests: 0, numFailedTests: 0 }));
  const { status, stdout } = spawnSync(process.execPath, ['.ci/totals.mjs', file], { cwd: ROOT, encoding: 'utf8' });
  expect(status).toBe(2);
  expect(stdout).toMatch(/failed before its tests: test\/docs\/a\.test\.ts\n0 passed, 1 failed\n$/);
});

it('name a test that may be skipped, with the reason', () => {
  const listed = 'needs the commit of the version before in this clone';
  const { status, stdout } = totals([of('skipped', listed, 'test/chart/upgrade.cluster.test.ts')]);
  expect(status).toBe(0);
  expect(stdout).toContain(`${listed}: a shallow clone lacks it`);
  expect(stdout).toMatch(/\n0 passed, 0 failed\n$/);
});

it('count the tests that are skipped, and allow those of ambient mode without a ztunnel alone', () => {
  const ambient = [1, 2].map((round) => of('skipped', `round ${round}`, 'test/policy/ambient/a.ambient.test.ts'));
  const without = totals([of('passed'), ...ambient]);
  expect(without.status).toBe(0);
  expect(without.stdout).toContain('round 2: MESHPASS_ZTUNNEL names no ztunnel\n');
  expect(without.stdout).toMatch(/\n2 skipped\n1 passed, 0 failed\n$/);
  const skippedAnyway = totalsWith({ MESHPASS_ZTUNNEL: '/ztunnel' }, ambient);
  expect(skippedAnyway.status).toBe(2);
  expect(skippedAnyway.stdout).toMatch(/\n0 passed, 2 failed\n$/);
});
