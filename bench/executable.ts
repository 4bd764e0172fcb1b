/**
 * The executable for tests and benchmarks, of which several run side by side: a build removes the previous executable, even while
 * another process runs or reads it. So one builds at a time, and each keeps its own.
 */
import { execFile, execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { withLock } from '@meshpass/lab/lock';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const DIST = join(ROOT, 'dist');

export interface BuiltExecutable {
  /** Holds `meshpass-linux-ARCH`. */
  readonly folder: string;
  /** Path of `meshpass-linux-ARCH`. */
  readonly home: string;
  /** Removes the folder. */
  remove(): void;
}

/** @param arch as Node.js names it. @throws Error with the output of the build */
export function buildExecutable(arch: string = process.arch): Promise<BuiltExecutable> {
  return aloneInDist(async () => {
    const name = `meshpass-linux-${arch}`;
    await promisify(execFile)('npm', ['run', '--silent', 'build:executable', '--', '--arch', arch], { cwd: ROOT });
    const folder = mkdtempSync(join(DIST, 'executable-'));
    // Links keep the files as they are when the next build removes these names.
    execFileSync('cp', ['--archive', '--link', join(DIST, name), folder]);
    return { folder, home: join(folder, name), remove: () => rmSync(folder, { recursive: true, force: true }) };
  });
}

/** Runs what builds an executable into `dist`, or reads one there, exclusively. */
export function aloneInDist<T>(work: () => Promise<T>): Promise<T> {
  mkdirSync(DIST, { recursive: true });
  return withLock('executable', work);
}
