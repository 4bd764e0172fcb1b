/**
 * Implements a lock between the commands of a single user. The lock is a file that identifies its owner. If the owner
 * was killed, another command takes over the lock. It is a file because Node.js does not support flock(2), and because
 * abstract sockets only exist on Linux.
 */
import { randomUUID } from 'node:crypto';
import { linkSync, readFileSync, readlinkSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { setTimeout } from 'node:timers/promises';
import { MeshpassError } from '@meshpass/identity';

const RETRY_MS = 50;
/**
 * The age at which a lock is considered stale. Work under the lock has shorter time limits, so it cannot take this
 * long.
 */
const STALE_MS = 120_000;

/**
 * Runs `work` while no other process holds the lock.
 * @param path the path to the lock file, which must be in an existing directory
 * @param patienceMs how long to wait for the lock, in milliseconds
 * @throws MeshpassError `config_invalid` if another process does not release the lock in time or if the file cannot be
 *   written. Errors thrown by `work` are passed on
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
  // Move the file instead of deleting it. Only one process can succeed in moving it. If the moved file turns out to
  // belong to another owner, it can be put back.
  const moved = `${path}.${self.slice(-12)}`;
  try {
    renameSync(path, moved);
    if (read(moved) !== owner) linkSync(moved, path);
  } catch {
    // Another process took over the lock first.
  }
  rmSync(moved, { force: true });
  return false;
}

function isStale(path: string, owner: string): boolean {
  const [pid, at] = owner.split(' ');
  try {
    if (Date.now() - statSync(path).mtimeMs > STALE_MS) return true;
    // The owner has created the file but has not written to it yet.
    if (owner === '') return false;
    // The home directory may be shared with containers and other machines, whose processes cannot be checked from here.
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

/** Returns an identifier of the machine and the PID namespace in which this process's ID is valid. */
export function pidNamespaceId(): string {
  try {
    return `${hostname()}/${readlinkSync('/proc/self/ns/pid')}`;
  } catch {
    // Only Linux has PID namespaces.
    return hostname();
  }
}
