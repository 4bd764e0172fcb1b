/** Label of the active broker's Pod, from its flag. */
import { type ActiveLabel, createActiveLabel } from '@meshpass/broker/mesh/kubernetes/active-label';
import { connectKubernetes } from '@meshpass/broker/mesh/kubernetes/http';
import type { ServeOptions } from './flags.ts';

/**
 * Creates the label's writer, or returns undefined without the flag.
 * @throws MeshpassError `config_invalid`
 */
export async function activeLabelOf(
  { activeLabel: pod, kubeconfig }: Pick<ServeOptions, 'activeLabel' | 'kubeconfig'>,
  onFailure: (cause: unknown) => void,
): Promise<ActiveLabel | undefined> {
  if (pod === undefined) return undefined;
  const http = await connectKubernetes(kubeconfig);
  const label = createActiveLabel({ http, namespace: pod.namespace, pod: pod.name, onFailure });
  return {
    ...label,
    close: () => {
      label.close();
      http.close();
    },
  };
}
