/**
 * Prevents two processes from using the same PGlite directory. PostgreSQL's own lock (postmaster.pid) cannot do this:
 * under WebAssembly, every process believes that its pid is 42, so it mistakes another's lock for its own stale one.
 *
 * Node has no flock(2), so the lock is a file that identifies its owner by boot, pid and start time of the process. It
 * is stale once that process has ended. Only processes on the same machine and in the same pid namespace are visible.
 * On Kubernetes, a volume that one node mounts (ReadWriteOncePod) and the `Recreate` strategy exclude others.
 */
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { MeshpassError } from '@meshpass/identity';

const FILE = 'meshpass.lock';

/**
 * Locks a directory.
 * @param dir existing directory of the store
 * @returns a function that releases the lock
 * @throws MeshpassError `store_unavailable` if another live process has the lock
 */
export function lockDirectory(dir: string): () => void {
  const path = join(dir, FILE);
  const self = identityOf(process.pid);
  for (let attempt = 0; attempt < 2; attempt++) {
    try {
      writeFileSync(path, self, { flag: 'wx', mode: 0o600 });
      return () => {
        if (read(path) === self) rmSync(path, { force: true });
      };
    } catch (thrown) {
      if ((thrown as NodeJS.ErrnoException).code !== 'EEXIST') throw thrown;
    }
    const owner = read(path);
    const pid = Number(owner?.split(' ')[1]);
    if (owner !== undefined && Number.isInteger(pid) && owner === identityOf(pid))
      throw new MeshpassError('store_unavailable', `Another broker (process ${pid}) is using this data directory.`);
    // Renamed before it is removed: if two processes see a stale lock, only one can move it.
    const stale = `${path}.${process.pid}`;
    try {
      renameSync(path, stale);
    } catch {
      continue;
    }
    rmSync(stale, { force: true });
  }
  throw new MeshpassError('store_unavailable', 'Another broker is claiming this data directory.');
}

function identityOf(pid: number): string {
  const boot = read('/proc/sys/kernel/random/boot_id')?.trim() ?? 'unknown';
  // Field 22 of stat is the start time. The command in field 2 may contain spaces and parentheses.
  const started = read(`/proc/${pid}/stat`)?.split(') ').at(-1)?.split(' ')[19];
  return started === undefined && !alive(pid) ? '' : `${boot} ${pid} ${started ?? ''}`;
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (thrown) {
    return (thrown as NodeJS.ErrnoException).code === 'EPERM';
  }
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
