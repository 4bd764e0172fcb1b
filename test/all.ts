/**
 * `npm test`: every test against the real parts, and the totals alone on the last line. It is what CI runs after its static checks.
 * `npm test -- ARGS` passes the arguments to Vitest instead.
 *
 * First everything is built that a lab and a cluster run on. Then the unit tests and, after them, the mesh tests run beside the cluster
 * tests and, after them, those of ambient mode: all but the first mostly wait.
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

const children = new Set<ChildProcess>();
let stopped = false;
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.on(signal, () => {
    stopped = true;
    for (const child of children) child.kill(signal);
  });

const args = process.argv.slice(2);
process.exitCode = args.length > 0 ? await passOn(['vitest', 'run', ...args]) : await runAll();

async function runAll(): Promise<number> {
  const began = performance.now();
  const report = (what: string) => console.log(`${what}: ${minutes(performance.now() - began)} since the start`);
  const reports = mkdtempSync(join(tmpdir(), 'meshpass-tests-'));
  const file = (project: string) => join(reports, `${project}.json`);
  const project = async (name: string): Promise<boolean> => {
    const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${file(name)}`];
    const passed = await labelled(`${name}: `, ['vitest', 'run', '--project', name, ...reporters]);
    report(`${name} tests`);
    return passed;
  };

  for (const what of ['lab', 'cluster'])
    if (!(await labelled(`${what}: `, ['npm', 'run', '-s', what, '--', 'install', '--system']))) return 1;
  report('system packages');
  if (!(await build())) return 1;
  report('what the tests run on');
  const unitAndMesh = async () => [await project('unit'), await project('mesh')];
  const clusterAndAmbient = async () => [await project('cluster'), await project('ambient')];
  const results = (await Promise.all([unitAndMesh(), clusterAndAmbient()])).flat();
  const totals = await passOn(['node', '.ci/totals.mjs', ...['unit', 'mesh', 'cluster', 'ambient'].map(file)]);
  if (totals === 1) console.log('0 passed, 1 failed'); // a report is missing
  return results.every(Boolean) ? totals : 1;
}

/** Builds what tests run on, unless it exists. */
async function build(): Promise<boolean> {
  const [isBuilt] = await Promise.all([
    buildTools(),
    // The upgrade test builds it itself if that fails here.
    labelled('', ['node', 'test/chart/previous-version.ts']),
  ]);
  return isBuilt;
}

async function buildTools(): Promise<boolean> {
  if (!(await labelled('', ['npm', 'run', '-s', 'cluster', '--', 'install']))) return false;
  if (!process.env.MESHPASS_ZTUNNEL) return true;
  // Afterwards, because the compiler has kept most of it by then.
  return labelled('', ['npm', 'run', '-s', 'lab', '--', 'install', '--with', 'ambient']);
}

/** Runs a command and prints each line of its output whole, because others print at the same time. @returns whether it succeeded */
async function labelled(label: string, command: readonly string[]): Promise<boolean> {
  const child = start(command, ['ignore', 'pipe', 'pipe']);
  for (const stream of [child.stdout, child.stderr])
    createInterface({ input: stream! }).on('line', (line) => console.log(`${label}${line}`));
  return (await exitOf(child)) === 0;
}

/** Runs a command with this process's own input and output. @returns its exit code */
function passOn(command: readonly string[]): Promise<number> {
  return exitOf(start(command, 'inherit'));
}

function start([program, ...rest]: readonly string[], stdio: 'inherit' | ['ignore', 'pipe', 'pipe']): ChildProcess {
  if (stopped) throw new Error('stopped by a signal');
  const child = spawn(program!, rest, { cwd: ROOT, stdio, env: { ...process.env, MESHPASS_LABS: LABS } });
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
