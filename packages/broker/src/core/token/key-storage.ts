/** Storage for the signing keys: a file, or an entry of a Secret (key-secret.ts). */
import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { describeFileError, MeshpassError } from '@meshpass/identity';
import { readPrivateFile, replaceKeyFile } from '../../base/index.ts';

/** Durable text with the signing keys. */
export interface KeyStorage {
  /**
   * Reads the text.
   * @returns undefined if nothing was stored yet
   * @throws MeshpassError `config_invalid`, `kubernetes_unavailable`
   */
  readonly read: () => Promise<string | undefined>;
  /**
   * Replaces the whole text durably.
   * @throws MeshpassError `config_invalid` if it cannot be written; `kubernetes_unavailable` if the result is unknown
   *   or another broker has written since
   */
  readonly write: (text: string) => Promise<void>;
}

/** Stores keys in a file of mode 0600, which the broker creates and replaces. */
export function keyFileStorage(file: string): KeyStorage {
  return {
    read: async () => {
      try {
        return readPrivateFile(file);
      } catch (cause) {
        if (cause instanceof MeshpassError) throw cause;
        if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
        const why = `Cannot read the signing key file ${file}: ${describeFileError(cause)}.`;
        throw new MeshpassError('config_invalid', why, { cause });
      }
    },
    write: async (text) => {
      await mkdir(dirname(file), { recursive: true, mode: 0o700 });
      await replaceKeyFile(file, text);
    },
  };
}
