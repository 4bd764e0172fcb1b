/**
 * A ConfigMap or Secret that all brokers of an installation share. A write fails if the object has changed since it was
 * read (`resourceVersion`).
 */
import { MeshpassError } from '@meshpass/identity';
import { z } from 'zod';
import { connectKubernetes, path } from './http.ts';
import { understood } from './kubernetes.ts';

export interface SharedObjectOptions {
  /** The path to a kubeconfig. Not needed inside a Pod. */
  readonly kubeconfig?: string | undefined;
  readonly namespace: string;
  /** The name of an existing object. The broker is not allowed to create it. */
  readonly name: string;
}

const NOT_FOUND = 404;
const CONFLICT = 409;

const SharedObject = z.object({
  metadata: z.object({ resourceVersion: z.string() }),
  data: z.record(z.string(), z.string()).optional(),
});

/**
 * Opens an existing ConfigMap or Secret for reading and writing.
 * @param missing the error message to use if the object does not exist
 * @throws MeshpassError `config_invalid` if no cluster is configured
 */
export async function openSharedObject(
  kind: 'configmaps' | 'secrets',
  { kubeconfig, namespace, name }: SharedObjectOptions,
  missing: string,
) {
  const http = await connectKubernetes(kubeconfig);
  const at = path`/api/v1/namespaces/${namespace}/${kind}/${name}`;
  return {
    /**
     * Reads the object's current version and data.
     * @throws MeshpassError `config_invalid` if it does not exist, `kubernetes_unavailable`
     */
    read: async () => {
      const answer = await http.call({ method: 'GET', path: at, expect: [NOT_FOUND] });
      if (answer.status === NOT_FOUND) throw new MeshpassError('config_invalid', missing);
      const { metadata, data = {} } = understood(SharedObject, answer.body);
      return { version: metadata.resourceVersion, data };
    },
    /**
     * Writes the given entries and leaves all others unchanged.
     * @param version the version of the object that was returned by `read`
     * @returns the new version, or undefined if the object has changed since then
     */
    write: async (
      version: string | undefined,
      data: Readonly<Record<string, string>>,
      query: Readonly<Record<string, string>> = {},
    ) => {
      const { status, body } = await http.call({
        method: 'PATCH',
        path: at,
        query,
        contentType: 'application/merge-patch+json',
        expect: [CONFLICT],
        body: { metadata: { resourceVersion: version }, data },
      });
      return status === CONFLICT ? undefined : understood(SharedObject, body).metadata.resourceVersion;
    },
    close: http.close,
  };
}
