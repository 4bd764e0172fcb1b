/**
 * Stores signing keys in one entry of a Secret that all brokers of an installation share. The active broker owns this
 * entry and leaves the other entries unchanged (enforced by signing-key.yaml in the chart).
 */
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { MeshpassError } from '@meshpass/identity';
import { z } from 'zod';
import { connectKubernetes, type KubernetesHttp, path } from '../../mesh/index.ts';
import type { KeyStorage } from './key-storage.ts';

/** Location of the Secret. */
export interface KeySecretOptions {
  /** Path of a kubeconfig; absent inside a Pod. */
  readonly kubeconfig?: string | undefined;
  readonly namespace: string;
  /** Name of an existing Secret. The broker cannot create it. */
  readonly name: string;
}

const NOT_FOUND = 404;
const CONFLICT = 409;
const ATTEMPTS = 3;
const ENTRY = 'signing-key.pem';

const Secret = z.object({
  metadata: z.object({ resourceVersion: z.string() }),
  data: z.record(z.string(), z.base64()).optional(),
});

/**
 * Opens the storage.
 * @throws MeshpassError `config_invalid` if there is no access to a cluster
 */
export async function openKeySecret({ kubeconfig, namespace, name }: KeySecretOptions): Promise<{
  readonly storage: KeyStorage;
  readonly close: () => void;
}> {
  const http = await connectKubernetes(kubeconfig);
  return { storage: keySecretStorage(http, namespace, name), close: http.close };
}

/** Creates storage in a Secret entry. */
export function keySecretStorage(http: KubernetesHttp, namespace: string, name: string): KeyStorage {
  const at = path`/api/v1/namespaces/${namespace}/secrets/${name}`;
  // First line of everything that this process writes. A broker that takes over first writes its own line. Later writes
  // by the previous broker then conflict and fail.
  const mine = `Meshpass-Broker: ${hostname()} ${randomUUID()}\n`;
  let version: string | undefined;

  const get = async () => {
    const answer = await http.call({ method: 'GET', path: at, expect: [NOT_FOUND] });
    if (answer.status === NOT_FOUND)
      throw new MeshpassError(
        'config_invalid',
        `The Secret ${namespace}/${name} (--signing-key-secret) does not exist. Restore it, or upgrade the Helm release, which creates it.`,
      );
    const { metadata, data = {} } = understood(answer.body);
    const text = Buffer.from(data[ENTRY] ?? '', 'base64').toString();
    return { version: metadata.resourceVersion, text };
  };

  return {
    read: async () => {
      const found = await get();
      version = found.version;
      return found.text === '' ? undefined : found.text;
    },
    write: async (text) => {
      for (let attempt = 1; ; attempt++) {
        const answer = await http.call({
          method: 'PATCH',
          path: at,
          contentType: 'application/merge-patch+json',
          expect: [CONFLICT],
          body: {
            metadata: { resourceVersion: version },
            data: { [ENTRY]: Buffer.from(mine + text).toString('base64') },
          },
        });
        if (answer.status !== CONFLICT) {
          version = understood(answer.body).metadata.resourceVersion;
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
}

function understood(body: unknown): z.infer<typeof Secret> {
  const read = Secret.safeParse(body);
  if (read.success) return read.data;
  throw new MeshpassError('kubernetes_unavailable', 'Kubernetes sent an unexpected response.');
}
