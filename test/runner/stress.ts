/**
 * `npm run stress -- FILE...`: repeats test files on a busy machine and reports how often they fail. See `stress/options.ts`.
 * Each run is a Vitest process of its own. The output of failed runs is kept in a temporary folder.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startBusyLoops } from './stress/busy-loops.ts';
import { startFreezing } from './stress/freeze.ts';
import { parseOptions, projectOf, type StressOptions, USAGE, UsageError } from './stress/options.ts';
import { failedRuns, type Outcome, outcomeLine, type Run, runLine } from './stress/outcome.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const VITEST = join(ROOT, 'node_modules/vitest/vitest.mjs');

/** Folder with the output of failed runs. */
let folder: string | undefined;

/** Undoes what is under way: busy loops, frozen processes, a test run. */
const cleanUps = new Set<() => void>();
process.on('exit', () => {
  for (const cleanUp of cleanUps) cleanUp();
});
for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGHUP', 129],
] as const)
  process.on(signal, () => process.exit(code));

try {
  process.exitCode = await stress(parseOptions(process.argv.slice(2)));
} catch (thrown) {
  if (!(thrown instanceof UsageError)) throw thrown;
  console.error(`${thrown.message}\n\n${USAGE}`);
  process.exitCode = 2;
}

/** @returns the exit code */
async function stress(options: StressOptions): Promise<number> {
  for (const file of options.files)
    if (!existsSync(join(ROOT, file))) throw new UsageError(`No file ${file} exists in the repository.`);
  const progress = (line: string) => (options.output === 'json' ? console.error(line) : console.log(line));
  const outcomes: Outcome[] = [];
  const stop = startBusyLoops(options.load);
  cleanUps.add(stop);
  for (const file of options.files) {
    const project = options.project ?? projectOf(file);
    const runs: Run[] = [];
    progress(file);
    for (let at = 1; at <= options.runs; at++) {
      const run = await runOnce({ file, project, at }, options);
      runs.push(run);
      progress(runLine(at, options.runs, run));
    }
    outcomes.push({ file, project, runs });
  }
  stop();
  const { load, lateStore, pause } = options;
  const summary = { load, lateStore, pause, files: outcomes.map((one) => ({ failed: failedRuns(one.runs), ...one })) };
  if (options.output === 'json') console.log(JSON.stringify(summary, null, 2));
  else for (const outcome of outcomes) console.log(outcomeLine(outcome, load));
  return outcomes.some(({ runs }) => failedRuns(runs) > 0) ? 1 : 0;
}

interface OneRun {
  readonly file: string;
  readonly project: string;
  /** Number of the run. */
  readonly at: number;
}

async function runOnce({ file, project, at }: OneRun, { lateStore, pause }: StressOptions): Promise<Run> {
  const began = performance.now();
  const { MESHPASS_TEST_REPORT: _, ...env } = process.env;
  const reporter = join(ROOT, 'test/runner/reporter.ts');
  const child = spawn(process.execPath, [VITEST, 'run', `--reporter=${reporter}`, '--project', project, file], {
    cwd: ROOT,
    // A group of its own, so that an interrupt stops it with its workers.
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...env, ...(lateStore > 0 && { MESHPASS_TEST_STORE_DELAY_MS: String(lateStore) }) },
  });
  const stop = () => stopGroup(child);
  cleanUps.add(stop);
  const thaw = pause > 0 && child.pid !== undefined ? startFreezing(child.pid, pause) : () => {};
  cleanUps.add(thaw);
  const chunks: Buffer[] = [];
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => chunks.push(chunk));
  const [code] = await once(child, 'close');
  thaw();
  cleanUps.delete(thaw);
  cleanUps.delete(stop);
  const ms = performance.now() - began;
  if (code === 0) return { passed: true, ms };
  folder ??= mkdtempSync(join(tmpdir(), 'meshpass-stress-'));
  const output = join(folder, `${basename(file)}.${at}.txt`);
  writeFileSync(output, Buffer.concat(chunks));
  return { passed: false, ms, output };
}

function stopGroup({ pid }: ChildProcess): void {
  try {
    process.kill(-pid!, 'SIGTERM');
  } catch {
    // it has ended
  }
}
