/**
 * A lock between the commands of one user: a file that names its owner. One that is left behind, because its owner was killed, is taken
 * over. Node has no flock(2), and a socket in the abstract namespace is Linux alone.
 */
import { randomUUID } from 'node:crypto';
import { linkSync, readFileSync, readlinkSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { setTimeout } from 'node:timers/promises';
import { MeshpassError } from '@meshpass/identity/error';

const RETRY_MS = 50;
/** What is done under it has time limits of its own, which are shorter. */
const STALE_MS = 120_000;

/**
 * Runs `work` while no other process holds the lock.
 * @param path in a directory that exists
 * @param patienceMs how long to wait for it
 * @throws MeshpassError `config_invalid` where another one keeps it, or the file cannot be written; what `work` throws
 */
export async function withLockFile<T>(path: string, patienceMs: number, work: () => Promise<T>): Promise<T> {
  const self = `${process.pid} ${place()} ${randomUUID()}`;
  const end = Date.now() + patienceMs;
  while (!take(path, self)) {
    if (Date.now() >= end)
      throw new MeshpassError('config_invalid', `Another meshpass command holds ${path}: try again.`);
    await setTimeout(RETRY_MS);
  }
  try {
    return await work();
  } finally {
    if (read(path) === self) rmSync(path, { force: true });
  }
}

function take(path: string, self: string): boolean {
  try {
    writeFileSync(path, self, { flag: 'wx', mode: 0o600 });
    return true;
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'EEXIST')
      throw new MeshpassError('config_invalid', `${path} cannot be written.`, { cause });
  }
  const owner = read(path);
  if (owner === undefined || !isStale(path, owner)) return false;
  // Moved away, not deleted: of several that see it, one gets it; and what is not the one that was stale is put back.
  const moved = `${path}.${self.slice(-12)}`;
  try {
    renameSync(path, moved);
    if (read(moved) !== owner) linkSync(moved, path);
  } catch {
    // Another one was faster.
  }
  rmSync(moved, { force: true });
  return false;
}

function isStale(path: string, owner: string): boolean {
  const [pid, at] = owner.split(' ');
  try {
    if (Date.now() - statSync(path).mtimeMs > STALE_MS) return true;
    // Between its creation and its content.
    if (owner === '') return false;
    // A home directory may be shared with containers and other machines: whether that one still runs is not to be seen from here.
    if (at !== place()) return false;
    process.kill(Number(pid), 0);
    return false;
  } catch (thrown) {
    return (thrown as NodeJS.ErrnoException).code === 'ESRCH';
  }
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

/** Where the number of a process means something. */
export function place(): string {
  try {
    return `${hostname()}/${readlinkSync('/proc/self/ns/pid')}`;
  } catch {
    // Only Linux has more than one.
    return hostname();
  }
}
