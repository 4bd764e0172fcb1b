/**
 * Prevents two processes from using the same PGlite directory. PostgreSQL's own lock (postmaster.pid) cannot do this:
 * under WebAssembly, every process believes that its process id is 42, so it mistakes another process's lock for a
 * stale lock of its own.
 * Node does not provide flock(2), so the lock is an SQLite database with an open exclusive transaction. The kernel
 * releases it when the process ends. The lock only works between processes on the same machine. On Kubernetes, a
 * ReadWriteOncePod volume and the `Recreate` strategy keep all other processes out.
 */
import { accessSync, constants, existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { MeshpassError } from '@meshpass/identity';

const FILE = 'meshpass-lock.sqlite';
/** SQLITE_BUSY, which is also the low byte of its extended result codes. */
const BUSY = 5;

/**
 * Locks the directory of the store.
 * @param dir the directory, which must exist
 * @returns a function that releases the lock
 * @throws MeshpassError `store_unavailable` if another live process holds the lock; file system and SQLite errors
 */
export function lockDirectory(dir: string): () => void {
  const file = join(dir, FILE);
  // Any user who can read the file could hold the lock, so only the owner may read it.
  if (!existsSync(file)) writeFileSync(file, '', { flag: 'a', mode: 0o600 });
  // SQLite silently opens an unwritable file as read-only, and the lock would then not keep other processes out.
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
