/** The ConfigMap with the newest checkpoint of the audit log, from its flag. */
import { openCheckpointMap } from '@meshpass/broker/audit/checkpoint/config-map-sink';
import { MeshpassError } from '@meshpass/identity/error';
import type { OptionsOf } from '../command/flag.ts';
import type { checkpointFlags } from '../command/shared-flags.ts';

type CheckpointMapFlags = Pick<OptionsOf<typeof checkpointFlags>, 'auditCheckpointConfigmap'> & {
  readonly kubeconfig?: string;
};

/** @throws MeshpassError `usage`, `config_invalid` */
export async function checkpointMapOf({ auditCheckpointConfigmap: given, kubeconfig }: CheckpointMapFlags) {
  if (given === undefined) return undefined;
  const [, namespace, name] = /^([a-z0-9-]{1,63})\/([a-z0-9.-]{1,253})$/.exec(given) ?? [];
  if (namespace === undefined || name === undefined)
    throw new MeshpassError('usage', '--audit-checkpoint-configmap must be NAMESPACE/NAME.');
  return await openCheckpointMap({ kubeconfig, namespace, name });
}
