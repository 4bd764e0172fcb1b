/**
 * Builds that are kept in `dist/kept` by their inputs: tests, benchmarks, image and Feature need the same one many times
 * over, and each takes half a minute. `--fresh` always rebuilds.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, globSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const KEPT = join(ROOT, 'dist/kept');
/** Inputs of an executable besides the Node.js that builds it. The lock pins packages of others. */
const EXECUTABLE = [
  ...['packages/*/src/**', 'packages/*/package.json', 'deploy/executable/**', 'deploy/npm/**'],
  ...['package-lock.json', 'lab/node.sha256', 'lab/src/install/envoy.ts', 'tsconfig.json', 'LICENSE'],
];

export interface Build {
  /** Executables kept per name: the last one. */
  readonly name: string;
  /** Files that it is made of, beside those of an executable; globs in the repository. */
  readonly sources: readonly string[];
  /** Other inputs. */
  readonly settings: readonly string[];
  /** Files and folders that it writes; absolute paths. */
  readonly outputs: readonly string[];
}

/**
 * Puts the outputs where they belong: kept ones, or else those of `build`, which are kept then. Others that read the outputs of an earlier
 * build keep theirs: names are replaced, and files never changed.
 * @param fresh builds in any case, and keeps nothing
 * @returns whether it was built
 */
export async function keepBuild(build: Build, fresh: boolean, run: () => Promise<void>): Promise<boolean> {
  const home = join(KEPT, `${build.name}-${digestOf(build)}`);
  if (!fresh && existsSync(home)) {
    for (const output of build.outputs) link(join(home, basename(output)), output);
    return false;
  }
  // Under these names may be the files of an earlier build, which is kept: `run` must not write into them.
  for (const output of build.outputs) rmSync(output, { recursive: true, force: true });
  await run();
  if (fresh) return true; // builds with another umask or time zone are not for others
  mkdirSync(KEPT, { recursive: true });
  const work = mkdtempSync(join(KEPT, '.new-'));
  for (const output of build.outputs) link(output, join(work, basename(output)));
  for (const old of globSync(`${build.name}-${'?'.repeat(DIGITS)}`, { cwd: KEPT }))
    rmSync(join(KEPT, old), { recursive: true, force: true });
  renameSync(work, home);
  return true;
}

const DIGITS = 32;

function digestOf({ sources, settings }: Build): string {
  const digest = createHash('sha256').update(JSON.stringify([process.version, process.arch, ...settings]));
  const files = globSync([...EXECUTABLE, ...sources], { cwd: ROOT, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
  for (const file of files) digest.update(`\0${file.slice(ROOT.length)}\0`).update(readFileSync(file));
  return digest.digest('hex').slice(0, DIGITS);
}

/** Copies by hard links, which take neither space nor time; a file removed under one name remains under the other. */
function link(from: string, to: string): void {
  mkdirSync(dirname(to), { recursive: true });
  const beside = mkdtempSync(`${to}-`);
  try {
    execFileSync('cp', ['--archive', '--link', from, join(beside, 'new')]);
    rmSync(to, { recursive: true, force: true });
    renameSync(join(beside, 'new'), to);
  } finally {
    rmSync(beside, { recursive: true, force: true });
  }
}
