/**
 * Lock between a user's commands: a file that names its owner. If the owner was killed, another command takes over the
 * lock. Node.js has no flock(2), and only Linux has sockets in an abstract namespace.
 */
import { randomUUID } from 'node:crypto';
import { linkSync, readFileSync, readlinkSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { setTimeout } from 'node:timers/promises';
import { MeshpassError } from '@meshpass/identity/error';

const RETRY_MS = 50;
/** Work under the lock has shorter time limits. */
const STALE_MS = 120_000;

/**
 * Runs `work` while no other process holds the lock.
 * @param path in an existing directory
 * @param patienceMs milliseconds to wait for the lock
 * @throws MeshpassError `config_invalid` if another process keeps the lock, or the file cannot be written; errors of
 *   `work`
 */
export async function withLockFile<T>(path: string, patienceMs: number, work: () => Promise<T>): Promise<T> {
  const self = `${process.pid} ${pidNamespaceId()} ${randomUUID()}`;
  const end = Date.now() + patienceMs;
  while (!take(path, self)) {
    if (Date.now() >= end)
      throw new MeshpassError('config_invalid', `Another meshpass command holds the lock ${path}. Try again.`);
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
      throw new MeshpassError('config_invalid', `Cannot write ${path}.`, { cause });
  }
  const owner = read(path);
  if (owner === undefined || !isStale(path, owner)) return false;
  // Moves the file instead of deleting it, so that only one of several processes gets it, and a file that is not the
  // stale one is put back.
  const moved = `${path}.${self.slice(-12)}`;
  try {
    renameSync(path, moved);
    if (read(moved) !== owner) linkSync(moved, path);
  } catch {
    // Another process was faster.
  }
  rmSync(moved, { force: true });
  return false;
}

function isStale(path: string, owner: string): boolean {
  const [pid, at] = owner.split(' ');
  try {
    if (Date.now() - statSync(path).mtimeMs > STALE_MS) return true;
    // The owner has created the file, but not yet written its content.
    if (owner === '') return false;
    // Containers and other machines may share a home directory, and their processes are not visible here.
    if (at !== pidNamespaceId()) return false;
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

/** Machine and PID namespace in which a process id is valid. */
export function pidNamespaceId(): string {
  try {
    return `${hostname()}/${readlinkSync('/proc/self/ns/pid')}`;
  } catch {
    // Only Linux has PID namespaces.
    return hostname();
  }
}
