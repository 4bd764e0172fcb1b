/**
 * `npm run versions`: the suites that show whether Meshpass works, on every release of Istio and Kubernetes that the lab runs. Writes
 * the rows of docs/testing/releases.md. `npm run versions -- 1.30.0/1.34.0 ...` (Istio/Kubernetes) runs and writes only these.
 * Exits with 1 if a suite failed.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ENVOY_VERSION } from '@meshpass/agent/envoy/release';
import { RELEASES, type Release, releasesPage, resultOf, rowsOf, SUITES, type VitestReport } from './page.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const PAGE = join(ROOT, 'docs/testing/releases.md');

const asked = process.argv.slice(2);
const nameOf = ({ istio, kubernetes }: Release) => `${istio}/${kubernetes}`;
const unknown = asked.filter((name) => !RELEASES.some((release) => nameOf(release) === name));
if (unknown.length > 0) {
  console.error(`Unknown: ${unknown.join(', ')}. Give some of ${RELEASES.map(nameOf).join(', ')}.`);
  process.exit(2);
}

const logs = mkdtempSync(join(tmpdir(), 'meshpass-versions-'));
const commit = execFileSync('git', ['describe', '--always', '--dirty', '--exclude=*'], { cwd: ROOT, encoding: 'utf8' });
for (const release of RELEASES.filter((one) => asked.length === 0 || asked.includes(nameOf(one)))) {
  const { results, minutes } = runSuites(release);
  // Each row is written at once, so that a run that is stopped keeps what it has.
  const row = [release.istio, release.kubernetes, ENVOY_VERSION, commit.trim(), ...results, String(minutes)];
  writeFileSync(PAGE, releasesPage(rowsOf(readFileSync(PAGE, 'utf8')), row));
  if (results.some((result) => !result.endsWith('passed'))) process.exitCode = 1;
}

/** @returns a result for each of SUITES, and how long they took with everything built */
function runSuites(release: Release): { results: readonly string[]; minutes: number } {
  const env = {
    ...process.env,
    MESHPASS_LAB_ISTIO: release.istioFolder,
    MESHPASS_LAB_KUBERNETES: release.kubernetesFolder,
    MESHPASS_LABS: '3',
  };
  const run = (what: string, command: readonly string[]): boolean => {
    const log = join(logs, `${nameOf(release).replace('/', '-')}-${what}.log`);
    console.log(`Istio ${release.istio}, Kubernetes ${release.kubernetes}: ${what}, log in ${log}`);
    const output = openSync(log, 'w');
    const { status } = spawnSync(command[0]!, command.slice(1), { cwd: ROOT, env, stdio: ['ignore', output, output] });
    closeSync(output);
    return status === 0;
  };
  const vitest = (project: string, files: readonly string[]): VitestReport => {
    const report = join(logs, `${nameOf(release).replace('/', '-')}-${project}.json`);
    const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`];
    run(project, ['npx', 'vitest', 'run', '--project', project, ...reporters, ...files]);
    return JSON.parse(readFileSync(report, 'utf8'));
  };

  if (!run('build', ['npm', 'run', '-s', 'cluster', '--', 'install']))
    throw new Error('The build failed: see its log.');
  const began = performance.now();
  const quickstart = run('quickstart', ['npm', 'run', '-s', 'quickstart']) ? 'passed' : 'failed';
  const reports = ['mesh', 'cluster'].map((project) =>
    vitest(
      project,
      SUITES.filter((suite) => suite.project === project).map(({ path }) => path),
    ),
  );
  const results = SUITES.map(({ path }) => resultOf(reports, join(ROOT, path)));
  return { results: [quickstart, ...results], minutes: Math.round((performance.now() - began) / 60_000) };
}
