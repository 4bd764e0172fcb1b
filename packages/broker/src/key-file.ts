/** Files that hold the broker's private keys: PEM, mode 0600, made once and never overwritten. */
import type { KeyObject } from 'node:crypto';
import { chmod, mkdir, open, readFile } from 'node:fs/promises';
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
  const handle = await open(file, 'wx', 0o600);
  try {
    await handle.writeFile(pem);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await chmod(file, 0o600);
  return pem;
}
