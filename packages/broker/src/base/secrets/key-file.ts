/**
 * Reads and writes the files that contain the broker's private keys and tokens. Only the broker may have access to
 * them. A file is either created once or replaced atomically. It is never overwritten in place.
 */
import type { KeyObject } from 'node:crypto';
import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs';
import { chmod, mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { describeFileError, MeshpassError } from '@meshpass/identity';

/**
 * Reads a private file. The file must be owned by root or by the user that runs the broker, and must not be accessible
 * to other users. The group may have read access only if root owns the file and the broker does not run as root,
 * because Kubernetes assigns a Secret that is mounted with an `fsGroup` to root and that group.
 * @throws MeshpassError `config_invalid` if other users have access; the error from `open` if the file cannot be read
 */
export function readPrivateFile(file: string): string {
  const descriptor = openSync(file, 'r');
  try {
    const { mode, uid } = fstatSync(descriptor);
    const me = process.getuid?.() ?? uid;
    const groupMayRead = uid === 0 && me !== 0;
    if ((uid !== me && uid !== 0) || (mode & (groupMayRead ? 0o037 : 0o077)) !== 0)
      throw new MeshpassError(
        'config_invalid',
        `${file} contains a secret but is accessible to other users. Set its mode to 0600 and its owner to the user that runs meshpass, or mount its Secret with defaultMode 0440 and an fsGroup.`,
      );
    return readFileSync(descriptor, 'utf8');
  } finally {
    closeSync(descriptor);
  }
}

/**
 * Reads a file that the configuration refers to.
 * @param what a description of the file and its flag, for error messages
 * @throws MeshpassError `config_invalid`
 */
export function readConfiguredFile<T>(what: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    if (cause instanceof MeshpassError) throw cause;
    throw new MeshpassError('config_invalid', `Cannot read ${what}: ${describeFileError(cause)}.`, { cause });
  }
}

/**
 * Reads a key file, creating the file if necessary.
 * @param make creates the key if the file is missing. If undefined, the file must exist.
 * @param what a description of the file and its flag, for error messages
 * @returns the content of the file
 * @throws MeshpassError `config_invalid`
 */
export async function readKeyFile(
  file: string,
  make: (() => Promise<KeyObject>) | undefined,
  what: string,
): Promise<string> {
  try {
    return readConfiguredFile(what, () => readPrivateFile(file));
  } catch (thrown) {
    const { code } = ((thrown as MeshpassError).cause ?? {}) as NodeJS.ErrnoException;
    if (!make || code !== 'ENOENT') throw thrown;
  }
  const pem = (await make()).export({ type: 'pkcs8', format: 'pem' }) as string;
  await mkdir(dirname(file), { recursive: true, mode: 0o700 });
  await writeDurably(file, pem);
  return pem;
}

/**
 * Replaces the content of a key file. After a crash or a power failure, the file contains either all of the old text or
 * all of the new text.
 * @throws MeshpassError `config_invalid` if the file cannot be written, in which case it is left unchanged
 */
export async function replaceKeyFile(file: string, text: string): Promise<void> {
  try {
    await replaceFile(file, text, `${file}.next`);
  } catch (cause) {
    throw new MeshpassError('config_invalid', 'Cannot write a broker key file.', { cause });
  }
}

/**
 * Replaces the content of a file durably and sets its mode to 0600.
 * @param next the temporary path of the new file, before it is moved over the old one
 */
export async function replaceFile(file: string, text: string, next: string): Promise<void> {
  // An earlier attempt may have been interrupted and left this file behind.
  await rm(next, { force: true });
  await writeDurably(next, text);
  await rename(next, file);
  await syncDirectory(dirname(file));
}

async function writeDurably(file: string, text: string): Promise<void> {
  const handle = await open(file, 'wx', 0o600);
  try {
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
  // Set the mode explicitly, because the umask of the process may have restricted it.
  await chmod(file, 0o600);
}

/** Syncs a directory so that a rename in it is durable. */
async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
