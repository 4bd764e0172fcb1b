/**
 * The linter beside `istioctl analyze`, in one run: who finds what in the corpus of good and bad manifests, and the time that
 * each takes for ten thousand resources. Both run as commands, as people run them.
 */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { ALL_RULES } from '@meshpass/analysis/lint';
import { ensureIstioctl } from '@meshpass/lab/install/tools';
import { CASES, type Case, lintCase } from '../../packages/analysis/test/lint/corpus.ts';
import { median } from '../median.ts';
import { meshOfMany } from './mesh-of-many.ts';

const RESOURCES = 10_000;
/** Goal: maximum time, of what `analyze` takes for the same file in the same run. */
const MOST_OF_ANALYZE = 0.5;
/** Without -A it speaks of the namespace `default` only. */
const ANALYZE = ['analyze', '-A', '--use-kube=false'];
const MAIN = fileURLToPath(new URL('../../packages/cli/src/main.ts', import.meta.url));

export interface Took {
  readonly seconds: number;
  /** Processor time of all threads. */
  readonly cpuSeconds: number;
}

export interface RuleRow {
  readonly code: string;
  readonly name: string;
  /** Manifests of the corpus that have this mistake. */
  readonly bad: number;
  readonly meshpass: number;
  /** Manifests for which `analyze` reports a finding that it does not report for the good ones of the rule. */
  readonly analyze: number;
  /** Codes found; in parentheses those that are also found in good manifests. */
  readonly says: readonly string[];
}

export interface LintResult {
  readonly rules: readonly RuleRow[];
  /** Good manifests with a finding. */
  readonly good: { readonly manifests: number; readonly meshpass: number; readonly analyze: number };
  readonly resources: number;
  readonly bytes: number;
  readonly rounds: number;
  readonly meshpass: Took;
  readonly analyze: Took;
}

/** @param rounds of the measurement of time, taken in turns */
export async function benchLint(rounds: number, progress: (line: string) => void): Promise<LintResult> {
  const istioctl = await ensureIstioctl(progress);
  const home = mkdtempSync(join(tmpdir(), 'bench-lint-'));
  try {
    progress(`${CASES.length} manifests, one by one`);
    const said = new Map<string, readonly string[]>();
    for (const one of CASES) said.set(one.name, await analyze(istioctl, home, one));
    progress(`${RESOURCES} resources, ${rounds} times each, in turns`);
    const file = join(home, 'many.yaml');
    const { text, objects } = meshOfMany(RESOURCES);
    writeFileSync(file, text);
    const ours: Took[] = [];
    const theirs: Took[] = [];
    for (let round = 0; round < rounds; round++) {
      ours.push(await time([process.execPath, MAIN, 'policy', 'lint', file, '--fail-on', 'never']));
      theirs.push(await time([istioctl, ...ANALYZE, file]));
    }
    return {
      rules: ALL_RULES.map(({ code, name }) => row(code, name, said)),
      good: {
        manifests: CASES.filter(({ good }) => good).length,
        meshpass: CASES.filter((one) => one.good && lintCase(one).findings.length > 0).length,
        analyze: CASES.filter((one) => one.good && said.get(one.name)!.length > 0).length,
      },
      resources: objects,
      bytes: text.length,
      rounds,
      meshpass: middle(ours),
      analyze: middle(theirs),
    };
  } finally {
    rmSync(home, { recursive: true });
  }
}

export function printLint(result: LintResult): void {
  console.log('\nThe linter beside `istioctl analyze`: bad manifests of the corpus about which each says something.\n');
  for (const { code, name, bad, meshpass, analyze, says } of result.rules) {
    const cells = [`${meshpass} of ${bad}`.padStart(9), `${analyze} of ${bad}`.padStart(9)].join('');
    console.log(`  ${`${code} ${name}`.padEnd(40)}${cells}   ${says.join(' ')}`);
  }
  const sum = (pick: (row: RuleRow) => number) => result.rules.reduce((all, one) => all + pick(one), 0);
  const cells = [
    `${sum((one) => one.meshpass)} of ${sum((one) => one.bad)}`,
    `${sum((one) => one.analyze)} of ${sum((one) => one.bad)}`,
  ];
  console.log(`  ${'all'.padEnd(40)}${cells.map((cell) => cell.padStart(9)).join('')}`);
  const { good, meshpass, analyze, resources, bytes, rounds } = result;
  console.log(
    `\n  Of ${good.manifests} good ones: Meshpass speaks of ${good.meshpass}, analyze of ${good.analyze} (what stands in other files is missing to it).`,
  );
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

function row(code: string, name: string, said: ReadonlyMap<string, readonly string[]>): RuleRow {
  const own = CASES.filter((one) => one.code === code);
  // Said of the good ones as well, it is not about the mistake.
  const noise = new Set(own.filter(({ good }) => good).flatMap((one) => said.get(one.name)!));
  const bad = own.filter(({ good }) => !good);
  const about = (one: Case) => said.get(one.name)!.filter((one) => !noise.has(one));
  return {
    code,
    name,
    bad: bad.length,
    meshpass: bad.filter((one) => lintCase(one).findings.some((finding) => finding.code === code)).length,
    analyze: bad.filter((one) => about(one).length > 0).length,
    says: [...new Set(bad.flatMap((one) => said.get(one.name)!))]
      .sort()
      .map((one) => (noise.has(one) ? `(${one})` : one)),
  };
}

/** Codes of the findings of `istioctl analyze` for a manifest; `parse` if it refuses to read it. */
async function analyze(istioctl: string, home: string, one: Case): Promise<readonly string[]> {
  const file = join(home, one.name);
  writeFileSync(file, one.text);
  const argv = [...ANALYZE, '-o', 'json', file];
  const { stdout } = await run(istioctl, argv).catch((failed: { stdout?: string }) => ({
    stdout: failed.stdout ?? '',
  }));
  const from = stdout.indexOf('[');
  if (from < 0) return ['parse'];
  const messages = JSON.parse(stdout.slice(from, stdout.lastIndexOf(']') + 1)) as readonly {
    code: string;
    level: string;
  }[];
  return [...new Set(messages.map(({ code }) => code))];
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
