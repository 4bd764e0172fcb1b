/**
 * Prevents two processes from using the same PGlite directory. PostgreSQL's own lock (postmaster.pid) cannot do this:
 * under WebAssembly, every process believes that its pid is 42, so it mistakes another's lock for its own stale one.
 *
 * Node has no flock(2), so the lock is an SQLite database in an exclusive transaction. The kernel releases it when the
 * process ends. It excludes only processes on the same machine. On Kubernetes, a volume that one node mounts
 * (ReadWriteOncePod) and the `Recreate` strategy exclude others.
 */
import { accessSync, constants, existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { MeshpassError } from '@meshpass/identity';

const FILE = 'meshpass-lock.sqlite';
/** SQLITE_BUSY, the low byte of its extended codes. */
const BUSY = 5;

/**
 * Locks a directory.
 * @param dir existing directory of the store
 * @returns a function that releases the lock
 * @throws MeshpassError `store_unavailable` if another live process has the lock; errors of the file system and of SQLite
 */
export function lockDirectory(dir: string): () => void {
  const file = join(dir, FILE);
  // Other users could keep the lock of a file that they may read.
  if (!existsSync(file)) writeFileSync(file, '', { flag: 'a', mode: 0o600 });
  // SQLite opens a file that it may not write for reading, and then excludes nobody.
  accessSync(file, constants.R_OK | constants.W_OK);
  const database = new DatabaseSync(file);
  try {
    database.exec('begin exclusive');
    return () => database.close();
  } catch (thrown) {
    database.close();
    if ((Number((thrown as { readonly errcode?: unknown }).errcode) & 0xff) !== BUSY) throw thrown;
    throw new MeshpassError('store_unavailable', 'Another broker is using this data directory.');
  }
}
