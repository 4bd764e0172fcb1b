/** The label of the active broker's Pod, from its flag. */
import { kubeconfigAccess, podAccess } from '@meshpass/broker/kubernetes/access';
import { type ActiveLabel, createActiveLabel } from '@meshpass/broker/kubernetes/active-label';
import { kubernetesHttp } from '@meshpass/broker/kubernetes/http';
import { MeshpassError } from '@meshpass/identity/error';

interface Options {
  readonly activeLabel?: string | undefined;
  readonly kubeconfig?: string | undefined;
}

/** @throws MeshpassError `usage`, `config_invalid` */
export async function activeLabelOf(
  { activeLabel: given, kubeconfig }: Options,
  onFailure: (cause: unknown) => void,
): Promise<ActiveLabel | undefined> {
  if (given === undefined) return undefined;
  const [, namespace, pod] = /^([a-z0-9-]{1,63})\/([a-z0-9.-]{1,253})$/.exec(given) ?? [];
  if (namespace === undefined || pod === undefined)
    throw new MeshpassError('usage', '--active-label must be NAMESPACE/POD.');
  const http = kubernetesHttp(kubeconfig ? await kubeconfigAccess(kubeconfig) : await podAccess(process.env));
  const label = createActiveLabel({ http, namespace, pod, onFailure });
  return {
    set: label.set,
    leave: label.leave,
    close: () => {
      label.close();
      http.close();
    },
  };
}
