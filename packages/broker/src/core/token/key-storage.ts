/** Stores the signing keys, either in a file or in an entry of a Secret (see key-secret.ts). */
import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { describeFileError, MeshpassError } from '@meshpass/identity';
import { readPrivateFile, replaceKeyFile } from '../../base/index.ts';

/** Durable storage for the text that contains the signing keys. */
export interface KeyStorage {
  /**
   * Reads the stored text.
   * @returns undefined if nothing has been stored yet
   * @throws MeshpassError `config_invalid`, `kubernetes_unavailable`
   */
  readonly read: () => Promise<string | undefined>;
  /**
   * Durably replaces the entire text.
   * @throws MeshpassError `config_invalid` if the text cannot be written, or `kubernetes_unavailable` if the result is
   *   unknown or another broker has since written to the storage
   */
  readonly write: (text: string) => Promise<void>;
}

/** Stores the keys in a file with mode 0600. The broker creates and replaces the file. */
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
