/**
 * Stores the newest audit log checkpoint in a ConfigMap, which survives both the Pod and the database. Its admission
 * policy (audit-checkpoint.yaml in the chart) prevents any rollback, even by the broker.
 */

import { MeshpassError } from '@meshpass/identity';
import { pageUrl } from '@meshpass/identity/documentation/url';
import { z } from 'zod';
import { connectKubernetes, type KubernetesHttp, path } from '../../mesh/index.ts';
import { type CheckpointSink, isOlder, type LogPosition } from './sink.ts';

export interface CheckpointMapOptions {
  /** Path of the kubeconfig. Not needed inside a Pod. */
  readonly kubeconfig?: string | undefined;
  readonly namespace: string;
  /** Name of an existing ConfigMap, initially empty. The broker is not permitted to create it. */
  readonly name: string;
}

const NOT_FOUND = 404;
const CONFLICT = 409;
/** Maximum attempts. A conflict means that two brokers are writing during a takeover. */
const ATTEMPTS = 3;

const number = z
  .string()
  .regex(/^(?:0|[1-9]\d{0,14})$/)
  .transform(Number);
const ConfigMap = z.object({
  metadata: z.object({ resourceVersion: z.string() }),
  data: z.record(z.string(), z.string()).optional(),
});
const Data = z.object({ epoch: number, size: number, note: z.string().min(1), time: z.string().optional() });

interface Read {
  readonly version: string;
  readonly kept: z.infer<typeof Data> | undefined;
}

/**
 * Opens the ConfigMap as a checkpoint sink.
 * @throws MeshpassError `config_invalid` if there is no access to a cluster
 */
export async function openCheckpointMap({ kubeconfig, namespace, name }: CheckpointMapOptions): Promise<{
  readonly sink: CheckpointSink;
  readonly close: () => void;
}> {
  const http = await connectKubernetes(kubeconfig);
  return { sink: checkpointMap(http, namespace, name), close: http.close };
}

/** Creates a checkpoint sink for a ConfigMap. */
export function checkpointMap(http: KubernetesHttp, namespace: string, name: string): CheckpointSink {
  const at = path`/api/v1/namespaces/${namespace}/configmaps/${name}`;
  const title = `the ConfigMap ${namespace}/${name}`;

  const read = async (): Promise<Read> => {
    const answer = await http.call({ method: 'GET', path: at, expect: [NOT_FOUND] });
    if (answer.status === NOT_FOUND)
      throw new MeshpassError(
        'config_invalid',
        `The ${title.slice(4)} does not exist. Upgrade the Helm release, which creates it. If the log has been in use, its ` +
          `checkpoint is also lost (${pageUrl('docs/install/backup.md')}).`,
      );
    const { metadata, data } = understood(ConfigMap, answer.body);
    const isEmpty = data === undefined || Object.keys(data).length === 0;
    return { version: metadata.resourceVersion, kept: isEmpty ? undefined : readData(data) };
  };
  const patch = async (before: Read, note: string, mark: LogPosition, query: Readonly<Record<string, string>>) => {
    const data = { epoch: `${mark.epoch}`, size: `${mark.size}`, note, time: new Date().toISOString() };
    return await http.call({
      method: 'PATCH',
      path: at,
      query,
      contentType: 'application/merge-patch+json',
      expect: [CONFLICT],
      body: { metadata: { resourceVersion: before.version }, data },
    });
  };

  return {
    name: title,
    read: async () => {
      const { kept } = await read();
      return kept && { note: kept.note, time: kept.time };
    },
    write: async (note, mark) => {
      for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
        const before = await read();
        if (before.kept && isOlder(mark, before.kept))
          throw new MeshpassError('store_unavailable', `A newer audit log checkpoint is stored in ${title}.`);
        if ((await patch(before, note, mark, {})).status !== CONFLICT) return;
      }
      throw new MeshpassError('kubernetes_unavailable', `Other clients keep changing ${title}.`);
    },
    rehearse: async (note, mark) => {
      await patch(await read(), note, mark, { dryRun: 'All' }).catch((thrown) => {
        const refused = thrown instanceof MeshpassError && thrown.detail.status !== undefined;
        if (!refused) throw thrown;
        throw new MeshpassError(
          'audit_checkpoint_invalid',
          `Kubernetes refused to set ${title} to epoch ${mark.epoch}: ${thrown.detail.message}. A user who is allowed to annotate it must ` +
            `agree first: kubectl -n ${namespace} annotate --overwrite configmap ${name} meshpass.dev/accept-restore=${mark.epoch}`,
        );
      });
    },
  };
}

/** Reads the data. Treats unreadable data as an invalid checkpoint, never as a missing one. */
function readData(data: Readonly<Record<string, string>>): Read['kept'] {
  const parsed = Data.safeParse(data);
  return parsed.success ? parsed.data : { epoch: 0, size: 0, note: data.note || 'no checkpoint' };
}

function understood<T>(schema: z.ZodType<T>, body: unknown): T {
  const read = schema.safeParse(body);
  if (read.success) return read.data;
  throw new MeshpassError('kubernetes_unavailable', 'Kubernetes sent an unexpected response.');
}
