/**
 * The runtime directory and the log, which may lie where others can write (`/tmp`). Each is opened without following a link,
 * then looked at, then changed: by its descriptor, so that it cannot be exchanged in between.
 */
import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  type Stats,
  writeSync,
} from 'node:fs';
import { MeshpassError } from '@meshpass/identity/error';

const { O_APPEND, O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_WRONLY } = constants;

/**
 * Makes the directory, or takes one of our own; it is ours alone afterwards (mode 0700).
 * @throws MeshpassError config_invalid where it is a link, no directory, or somebody else's
 */
export function ownDirectory(path: string): void {
  mkdirSync(path, { recursive: true, mode: 0o700 });
  const what = `${path} must be a directory of your own; set MESHPASS_RUNTIME_DIR.`;
  const opened = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, what);
  try {
    const found = fstatSync(opened);
    if (!isOurs(found)) throw new MeshpassError('config_invalid', what);
    if ((found.mode & 0o077) !== 0) fchmodSync(opened, 0o700);
  } finally {
    closeSync(opened);
  }
}

/**
 * Opens a log for appending, for us alone (mode 0600); one that has grown beyond `largest` begins anew.
 * @param largest bytes
 * @returns its descriptor, which the caller closes
 * @throws MeshpassError config_invalid where it is a link, no file, somebody else's, or has a second name
 */
export function openOwnLog(path: string, largest: number): number {
  const what = `${path} must be a file of your own and no link; remove it, or set MESHPASS_RUNTIME_DIR.`;
  // O_NONBLOCK: to open a pipe that nobody reads would wait for ever.
  const opened = open(path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK, what);
  try {
    const found = fstatSync(opened);
    if (!found.isFile() || !isOurs(found) || found.nlink !== 1) throw new MeshpassError('config_invalid', what);
    if ((found.mode & 0o077) !== 0) fchmodSync(opened, 0o600);
    if (found.size > largest) ftruncateSync(opened);
    return opened;
  } catch (error) {
    closeSync(opened);
    throw error;
  }
}

/**
 * Writes a file for us alone (mode 0600) in place of what had its name, at once: whoever reads it has the old one or the new one.
 * @throws MeshpassError config_invalid
 */
export function writeOwnFile(path: string, text: string): void {
  const what = `${path} cannot be written; set MESHPASS_RUNTIME_DIR to a directory of your own.`;
  const fresh = `${path}.new`;
  rmSync(fresh, { force: true });
  const opened = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, what);
  try {
    writeSync(opened, text);
  } finally {
    closeSync(opened);
  }
  renameSync(fresh, path);
}

function open(path: string, flags: number, what: string): number {
  try {
    return openSync(path, flags, 0o600);
  } catch (cause) {
    throw new MeshpassError('config_invalid', what, { cause });
  }
}

function isOurs(found: Stats): boolean {
  return found.uid === process.geteuid?.();
}
