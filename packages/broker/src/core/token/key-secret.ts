/**
 * Stores signing keys in one entry of a Secret that all brokers of an installation share. The active broker owns this
 * entry and leaves the other entries unchanged (enforced by signing-key.yaml in the chart).
 */
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { MeshpassError } from '@meshpass/identity';
import { openSharedObject, type SharedObjectOptions } from '../../mesh/index.ts';
import type { KeyStorage } from './key-storage.ts';

const ATTEMPTS = 3;
const ENTRY = 'signing-key.pem';

/**
 * Opens the storage.
 * @throws MeshpassError `config_invalid` if there is no access to a cluster
 */
export async function openKeySecret(options: SharedObjectOptions) {
  const { namespace, name } = options;
  const missing = `The Secret ${namespace}/${name} (--signing-key-secret) does not exist. Restore it, or upgrade the Helm release, which creates it.`;
  const secret = await openSharedObject('secrets', options, missing);
  // First line of everything that this process writes. A broker that takes over first writes its own line. Later writes
  // by the previous broker then conflict and fail.
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
        // Either another entry changed, or an earlier write of this process succeeded although its response was lost.
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
