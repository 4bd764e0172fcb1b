/**
 * The linter beside `istioctl analyze`, in one run: the time that each takes for ten thousand resources. Both run as
 * executables, as people run them.
 */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ensureIstioctl } from '@meshpass/lab/install/tools';
import { buildExecutable } from '../executable.ts';
import { median } from '../median.ts';
import { meshOfMany } from './mesh-of-many.ts';

const RESOURCES = 10_000;
/** Goal: maximum time, of what `analyze` takes for the same file in the same run. */
const MOST_OF_ANALYZE = 0.5;
/** Without -A it speaks of the namespace `default` only. */
const ANALYZE = ['analyze', '-A', '--use-kube=false'];

export interface Took {
  readonly seconds: number;
  /** Processor time of all threads. */
  readonly cpuSeconds: number;
}

export interface LintResult {
  readonly resources: number;
  readonly bytes: number;
  readonly rounds: number;
  readonly meshpass: Took;
  readonly analyze: Took;
}

/** @param rounds of the measurement of time, taken in turns */
export async function benchLint(rounds: number, progress: (line: string) => void): Promise<LintResult> {
  const istioctl = await ensureIstioctl(progress);
  progress('building the executable');
  const executable = await buildExecutable();
  const home = mkdtempSync(join(tmpdir(), 'bench-lint-'));
  try {
    progress(`${RESOURCES} resources, ${rounds} times each, in turns`);
    const file = join(home, 'many.yaml');
    const { text, objects } = meshOfMany(RESOURCES);
    writeFileSync(file, text);
    const ours: Took[] = [];
    const theirs: Took[] = [];
    for (let round = 0; round < rounds; round++) {
      ours.push(await time([join(executable.home, 'meshpass'), 'policy', 'lint', file, '--fail-on', 'never']));
      theirs.push(await time([istioctl, ...ANALYZE, file]));
    }
    return {
      resources: objects,
      bytes: text.length,
      rounds,
      meshpass: middle(ours),
      analyze: middle(theirs),
    };
  } finally {
    rmSync(home, { recursive: true });
    executable.remove();
  }
}

export function printLint(result: LintResult): void {
  const { meshpass, analyze, resources, bytes, rounds } = result;
  console.log('\nThe linter beside `istioctl analyze`:');
  console.log(`\n  ${resources} resources, ${(bytes / 1e6).toFixed(1)} MB, medians of ${rounds} rounds in turns:\n`);
  console.log(`  ${''.padEnd(24)}${'analyze'.padStart(10)}${'Meshpass'.padStart(10)}${'ratio'.padStart(8)}   goal`);
  const times = (what: string, pick: (took: Took) => number, goal: string) =>
    console.log(
      `  ${what.padEnd(24)}${`${pick(analyze).toFixed(2)} s`.padStart(10)}${`${pick(meshpass).toFixed(2)} s`.padStart(10)}${(pick(meshpass) / pick(analyze)).toFixed(2).padStart(8)}   ${goal}`,
    );
  times('time', (took) => took.seconds, `at most ${MOST_OF_ANALYZE} of analyze`);
  times('CPU time', (took) => took.cpuSeconds, '');
}

/** Lists missed goals. */
export function lintMissed({ meshpass, analyze }: Pick<LintResult, 'meshpass' | 'analyze'>): readonly string[] {
  const ratio = meshpass.seconds / analyze.seconds;
  if (ratio <= MOST_OF_ANALYZE) return [];
  return [`the linter takes ${ratio.toFixed(2)} of the time of istioctl analyze (goal: ${MOST_OF_ANALYZE})`];
}

const run = promisify(execFile);

/** Processor time of a command and its children, as the shell measures it. */
async function time(argv: readonly string[]): Promise<Took> {
  const script = 'TIMEFORMAT="took %R %U %S"; time "$@" >/dev/null 2>&1';
  const { stderr } = await run('bash', ['-c', script, 'bash', ...argv]);
  const [seconds, user, system] = /took (\S+) (\S+) (\S+)/.exec(stderr)!.slice(1).map(Number);
  return { seconds: seconds!, cpuSeconds: user! + system! };
}

function middle(all: readonly Took[]): Took {
  return { seconds: median(all.map((one) => one.seconds)), cpuSeconds: median(all.map((one) => one.cpuSeconds)) };
}
