/**
 * Creates the runtime directory and the log file, which may be located in a directory that others can write to (such as
 * `/tmp`). Each is opened without following links, checked, and then changed through its file descriptor, so that it
 * cannot be replaced in between.
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
import { MeshpassError } from '@meshpass/identity';

const { O_APPEND, O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_WRONLY } = constants;

/**
 * Creates a directory with mode 0700, or reuses an existing one that belongs to the current user.
 * @throws MeshpassError config_invalid if it is a link, not a directory, or owned by another user
 */
export function createPrivateDirectory(path: string): void {
  mkdirSync(path, { recursive: true, mode: 0o700 });
  const what = `${path} must be a directory that you own. Set MESHPASS_RUNTIME_DIR to such a directory.`;
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
 * Opens a log file for appending, with mode 0600. The file is truncated if it is larger than `largest`.
 * @param largest the maximum size of the file, in bytes
 * @returns a file descriptor that the caller must close
 * @throws MeshpassError config_invalid if it is a link, not a file, owned by another user, or has more than one hard
 *   link
 */
export function openPrivateLog(path: string, largest: number): number {
  const what = `${path} must be a file that you own, not a link. Remove it, or set MESHPASS_RUNTIME_DIR.`;
  // O_NONBLOCK is set because opening a pipe without a reader would otherwise block forever.
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
 * Replaces a file atomically, with mode 0600. Readers see either the old or the new content, but never a mixture.
 * @throws MeshpassError config_invalid
 */
export function writePrivateFile(path: string, text: string): void {
  const what = `Cannot write ${path}. Set MESHPASS_RUNTIME_DIR to a directory that you own.`;
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
