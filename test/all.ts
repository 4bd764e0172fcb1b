/**
 * Runs tiers of tests: `node test/all.ts TIER... [ARGUMENTS OF VITEST]`. Prints the totals of all of them alone on the last line.
 *
 *   unit     no root, no lab
 *   mesh     a real Istio in the lab
 *   cluster  a real Kubernetes, with the chart, upgrades and restores
 *   ambient  a real ztunnel and waypoint
 *
 * First what the tiers run on is installed and built, unless it exists. Then unit tests and, after them, mesh tests run while cluster
 * tests and, after them, ambient tests do, because all but the first mostly wait.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
/** Labs that the mesh tests share. Each needs a gigabyte of memory. */
const LABS = process.env.MESHPASS_LABS || '3';

// Tests of npm commands read what these print, and `npm run -s` would silence them.
delete process.env.npm_config_loglevel;

const children = new Set<ChildProcess>();
let stopped = false;
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.on(signal, () => {
    stopped = true;
    for (const child of children) child.kill(signal);
  });

const TIERS = ['unit', 'mesh', 'cluster', 'ambient'] as const;
type Tier = (typeof TIERS)[number];
const isTier = (word: string): word is Tier => (TIERS as readonly string[]).includes(word);

const words = process.argv.slice(2);
const firstArgument = words.findIndex((word) => !isTier(word));
const tiers = words.slice(0, firstArgument < 0 ? undefined : firstArgument).filter(isTier);
const rest = words.slice(tiers.length);
// A caller who names a project has chosen its own tiers.
const chosen = rest.some((word) => /^--project\b/.test(word)) ? [] : tiers.flatMap((tier) => ['--project', tier]);
process.exitCode = rest.length > 0 ? await passOn(['vitest', 'run', ...chosen, ...rest]) : await runTiers();

async function runTiers(): Promise<number> {
  const began = performance.now();
  const report = (what: string) => console.log(`${what}: ${minutes(performance.now() - began)} since the start`);
  const reports = mkdtempSync(join(tmpdir(), 'meshpass-tests-'));
  const file = (tier: Tier) => join(reports, `${tier}.json`);
  const run = async (tier: Tier): Promise<boolean> => {
    if (!tiers.includes(tier)) return true;
    const environment = { MESHPASS_TEST_REPORT: file(tier) };
    const passed = await labelled(`${tier}: `, ['vitest', 'run', '--project', tier], environment);
    report(`${tier} tests`);
    return passed;
  };

  const [isInstalled] = await Promise.all([install(), tiers.includes('cluster') && buildPreviousVersion()]);
  if (!isInstalled) return 1;
  report('what the tests run on');
  const inTurn = async (...of: Tier[]) => {
    let passed = true;
    for (const tier of of) passed = (await run(tier)) && passed;
    return passed;
  };
  const results = await Promise.all([inTurn('unit', 'mesh'), inTurn('cluster', 'ambient')]);
  const totals = await passOn(['node', 'test/runner/totals.ts', ...tiers.map(file)]);
  if (totals === 1) console.log('0 passed, 1 failed'); // a report is missing
  return results.every(Boolean) ? totals : 1;
}

/** The upgrade test builds it itself if that fails here. */
function buildPreviousVersion(): Promise<boolean> {
  return labelled('', ['node', 'test/chart/previous-version.ts']);
}

async function install(): Promise<boolean> {
  for (const command of installations()) if (!(await labelled('', command))) return false;
  return true;
}

/** Returns the commands that install and build what the tiers run on, unless it exists. */
function installations(): string[][] {
  const npm = (script: string, ...more: string[]) => ['npm', 'run', '-s', script, '--', 'install', ...more];
  const onLab = tiers.some((tier) => tier !== 'unit');
  const ambient = tiers.includes('ambient') && process.env.MESHPASS_ZTUNNEL;
  return [
    ...(onLab ? [npm('lab', '--system')] : []),
    ...(tiers.includes('cluster') ? [npm('cluster', '--system'), npm('cluster')] : []),
    ...(tiers.includes('mesh') ? [npm('lab')] : []),
    // Last, because the compiler has kept most of it by then.
    ...(ambient ? [npm('lab', '--with', 'ambient')] : []),
  ];
}

/** Runs a command and prints each line of its output whole, because others print at the same time. @returns whether it succeeded */
async function labelled(label: string, command: readonly string[], more: NodeJS.ProcessEnv = {}): Promise<boolean> {
  const child = start(command, ['ignore', 'pipe', 'pipe'], more);
  for (const stream of [child.stdout, child.stderr])
    createInterface({ input: stream! }).on('line', (line) => console.log(`${label}${line}`));
  return (await exitOf(child)) === 0;
}

/** Runs a command with this process's own input and output. @returns its exit code */
function passOn(command: readonly string[]): Promise<number> {
  return exitOf(start(command, 'inherit'));
}

function start(
  [program, ...given]: readonly string[],
  stdio: 'inherit' | ['ignore', 'pipe', 'pipe'],
  more: NodeJS.ProcessEnv = {},
): ChildProcess {
  if (stopped) throw new Error('stopped by a signal');
  const child = spawn(program!, given, { cwd: ROOT, stdio, env: { ...process.env, MESHPASS_LABS: LABS, ...more } });
  children.add(child);
  return child;
}

async function exitOf(child: ChildProcess): Promise<number> {
  const [code] = await once(child, 'close').catch((cause: unknown) => {
    console.error(String(cause)); // it did not start
    return [1];
  });
  children.delete(child);
  return code ?? 1;
}

function minutes(ms: number): string {
  const seconds = Math.round(ms / 1000);
  return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}
