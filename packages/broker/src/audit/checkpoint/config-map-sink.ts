/**
 * Stores the latest audit log checkpoint in a ConfigMap, which outlives both the Pod and the database. An admission
 * policy (audit-checkpoint.yaml in the chart) prevents anyone, including the broker, from rolling the ConfigMap back.
 */

import { MeshpassError, pageUrl } from '@meshpass/identity';
import { z } from 'zod';
import { openSharedObject, type SharedObjectOptions } from '../../mesh/index.ts';
import { type CheckpointSink, isOlder, type LogPosition } from './sink.ts';

/** The maximum number of attempts to write. A conflict means that two brokers are writing during a takeover. */
const ATTEMPTS = 3;

const number = z
  .string()
  .regex(/^(?:0|[1-9]\d{0,14})$/)
  .transform(Number);
const Data = z.object({ epoch: number, size: number, note: z.string().min(1), time: z.string().optional() });

/**
 * Opens the ConfigMap, which is initially empty, as a checkpoint sink.
 * @throws MeshpassError `config_invalid` if the broker has no access to a cluster
 */
export async function openConfigMapSink(options: SharedObjectOptions) {
  const { namespace, name } = options;
  const title = `the ConfigMap ${namespace}/${name}`;
  const missing =
    `The ${title.slice(4)} does not exist. Upgrade the Helm release, which creates it. If the log has been in use, its ` +
    `checkpoint is also lost (${pageUrl('docs/install/backup.md')}).`;
  const map = await openSharedObject('configmaps', options, missing);
  const entriesOf = (note: string, { epoch, size }: LogPosition) => {
    return { epoch: `${epoch}`, size: `${size}`, note, time: new Date().toISOString() };
  };

  const sink: CheckpointSink = {
    name: title,
    read: async () => {
      const kept = keptIn((await map.read()).data);
      return kept && { note: kept.note, time: kept.time };
    },
    write: async (note, mark) => {
      for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
        const { version, data } = await map.read();
        const kept = keptIn(data);
        if (kept && isOlder(mark, kept))
          throw new MeshpassError('store_unavailable', `A newer audit log checkpoint is stored in ${title}.`);
        if ((await map.write(version, entriesOf(note, mark))) !== undefined) return;
      }
      throw new MeshpassError('kubernetes_unavailable', `Other clients keep changing ${title}.`);
    },
    rehearse: async (note, mark) => {
      const { version } = await map.read();
      await map.write(version, entriesOf(note, mark), { dryRun: 'All' }).catch((thrown) => {
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
  return { sink, close: map.close };
}

/**
 * Parses the ConfigMap's data, if any. Unreadable data is treated as an invalid checkpoint rather than a missing one.
 */
function keptIn(data: Readonly<Record<string, string>>) {
  if (Object.keys(data).length === 0) return undefined;
  const parsed = Data.safeParse(data);
  return parsed.success ? parsed.data : { epoch: 0, size: 0, note: data.note || 'no checkpoint', time: undefined };
}
