/**
 * Users of a lab. Each process that uses it holds it; when the last one lets go or dies, the lab goes down.
 * `lab up` on the command line holds it for good.
 */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const KEEP = 'keep';
const MAIN = fileURLToPath(new URL('main.ts', import.meta.url));

/** Lets go of the lab without taking it down. */
export type LetGo = () => void;

/**
 * Holds the lab until this process ends, however it ends: a shell waits on a pipe that only this process has open, and
 * then runs `release` of the command line `main`.
 */
export function hold(dir: string, name: string, main = MAIN): LetGo {
  const id = `${process.pid}-${randomBytes(4).toString('hex')}`;
  mkdirSync(join(dir, 'holders'), { recursive: true });
  const release = [process.execPath, main, 'release', id, '--name', name];
  const watcher = spawn('sh', ['-c', 'cat >/dev/null; exec "$@"', 'sh', ...release], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
    cwd: '/',
  });
  writeFileSync(join(dir, 'holders', id), String(watcher.pid));
  watcher.unref();
  (watcher.stdin as unknown as Socket).unref();
  return () => {
    rmSync(join(dir, 'holders', id), { force: true });
    if (watcher.pid !== undefined) process.kill(-watcher.pid, 'SIGKILL');
  };
}

export function holdForGood(dir: string): void {
  mkdirSync(join(dir, 'holders'), { recursive: true });
  writeFileSync(join(dir, 'holders', KEEP), '');
}

/** Drops a hold. @returns whether the lab has no holder any more */
export function release(dir: string, id?: string): boolean {
  const folder = join(dir, 'holders');
  if (!existsSync(folder)) return true;
  if (id !== undefined) rmSync(join(folder, id), { force: true });
  return readdirSync(folder).every(
    (one) => one !== KEEP && !existsSync(`/proc/${readFileSync(join(folder, one), 'utf8')}`),
  );
}
