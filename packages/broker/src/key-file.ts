/** Files that hold the broker's private keys: PEM, mode 0600, never overwritten: one is made once, or replaced as a whole. */
import type { KeyObject } from 'node:crypto';
import { chmod, mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { MeshpassError } from '@meshpass/identity';

/**
 * @param make the key for a file that is missing; absent: the file must be there
 * @param unreadable what to tell where it cannot be read
 * @returns the text of the file
 * @throws MeshpassError `config_invalid`
 */
export async function readKeyFile(
  file: string,
  make: (() => Promise<KeyObject>) | undefined,
  unreadable: string,
): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    if (!make || (cause as NodeJS.ErrnoException).code !== 'ENOENT')
      throw new MeshpassError('config_invalid', unreadable, { cause });
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
