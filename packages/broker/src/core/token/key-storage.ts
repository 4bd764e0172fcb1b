/**
 * Stores the signing keys, either in a file or in an entry of a Secret that all brokers of an installation share. The
 * active broker writes only this entry, which signing-key.yaml in the chart enforces.
 */
import { randomUUID } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname } from 'node:path';
import { describeFileError, MeshpassError } from '@meshpass/identity';
import { readPrivateFile, replaceKeyFile } from '../../base/index.ts';
import { openSharedObject, type SharedObjectOptions } from '../../mesh/index.ts';

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

const ATTEMPTS = 3;
const ENTRY = 'signing-key.pem';

/**
 * Opens the key storage in a Secret.
 * @throws MeshpassError `config_invalid` if the process has no access to a cluster
 */
export async function openKeySecret(options: SharedObjectOptions) {
  const { namespace, name } = options;
  const missing = `The Secret ${namespace}/${name} (--signing-key-secret) does not exist. Restore it, or upgrade the Helm release, which creates it.`;
  const secret = await openSharedObject('secrets', options, missing);
  // Everything that this process writes starts with this line. When another broker takes over, it writes its own line
  // first, so any later writes by the previous broker conflict and fail.
  const mine = `Meshpass-Broker: ${hostname()} ${randomUUID()}\n`;
  let version: string | undefined;

  const get = async () => {
    const { version, data } = await secret.read();
    return { version, text: Buffer.from(data[ENTRY] ?? '', 'base64').toString() };
  };

  const storage: KeyStorage = {
    read: async () => {
      const found = await get();
      version = found.version;
      return found.text === '' ? undefined : found.text;
    },
    write: async (text) => {
      for (let attempt = 1; ; attempt++) {
        const written = await secret.write(version, { [ENTRY]: Buffer.from(mine + text).toString('base64') });
        if (written !== undefined) {
          version = written;
          return;
        }
        // The write conflicted. Either another entry was changed, or an earlier write by this process succeeded but its
        // response was lost.
        const found = await get();
        if (!found.text.startsWith(mine) || attempt === ATTEMPTS)
          throw new MeshpassError(
            'kubernetes_unavailable',
            `Another broker or a user changed ${ENTRY} in the Secret ${namespace}/${name}. Try again. If that does not help, restart the active broker so that it uses the stored keys.`,
          );
        version = found.version;
      }
    },
  };
  return { storage, close: secret.close };
}
