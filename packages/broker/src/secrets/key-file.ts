/**
 * Files that hold the broker's private keys and tokens: for its eyes only, never overwritten: one is made once, or replaced as a whole.
 */
import type { KeyObject } from 'node:crypto';
import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs';
import { chmod, mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { fileProblem, MeshpassError } from '@meshpass/identity';

/**
 * Reads a file that nobody else may: it belongs to the broker's user or to root, others have no access, and its group has none but
 * to read a file of root's where the broker is not root. The last is a Secret mounted with an `fsGroup`, whose files Kubernetes
 * gives to root and that group: there is no other way to read them.
 * @throws MeshpassError `config_invalid` where others have access; what `open` throws where it cannot be read
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
        `${file} contains a secret, and others have access to it: make it 0600 and owned by the user that runs meshpass, or mount its Secret with defaultMode 0440 and an fsGroup.`,
      );
    return readFileSync(descriptor, 'utf8');
  } finally {
    closeSync(descriptor);
  }
}

/**
 * @param make the key for a file that is missing; absent: the file must be there
 * @param what it is, with the flag that names it, for messages
 * @returns the text of the file
 * @throws MeshpassError `config_invalid`
 */
export async function readKeyFile(
  file: string,
  make: (() => Promise<KeyObject>) | undefined,
  what: string,
): Promise<string> {
  try {
    return readPrivateFile(file);
  } catch (cause) {
    if (cause instanceof MeshpassError) throw cause;
    if (!make || (cause as NodeJS.ErrnoException).code !== 'ENOENT')
      throw new MeshpassError('config_invalid', `${what} cannot be read: ${fileProblem(cause)}.`, { cause });
  }
  const pem = (await make()).export({ type: 'pkcs8', format: 'pem' }) as string;
  await mkdir(dirname(file), { recursive: true, mode: 0o700 });
  await writeDurably(file, pem);
  return pem;
}

/**
 * Puts another text in place of a key file: a process that is killed meanwhile, or a machine that loses its power, leaves
 * the one or the other, whole.
 * @throws MeshpassError `config_invalid` where it cannot be written; the file is then as it was
 */
export async function replaceKeyFile(file: string, text: string): Promise<void> {
  const next = `${file}.next`;
  try {
    // What an earlier attempt left that did not come to its end.
    await rm(next, { force: true });
    await writeDurably(next, text);
    await rename(next, file);
    await syncDirectory(dirname(file));
  } catch (cause) {
    throw new MeshpassError('config_invalid', 'A key file of the broker cannot be written.', { cause });
  }
}

async function writeDurably(file: string, text: string): Promise<void> {
  const handle = await open(file, 'wx', 0o600);
  try {
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
  // Whatever the umask of the process is.
  await chmod(file, 0o600);
}

/** A rename is durable when its directory is. */
async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
