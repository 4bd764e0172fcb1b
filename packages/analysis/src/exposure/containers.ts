import type { Path, PodSpec } from '@meshpass/istio';
import { items, record } from '@meshpass/istio/members';

type Container = NonNullable<PodSpec['containers']>[number];

/**
 * Lists the containers that run for as long as their Pod does, with their paths in the Pod spec. Init containers are
 * included if they have `restartPolicy: Always`. Source: "Sidecar Containers" in the Kubernetes documentation.
 */
export function longRunningContainers({
  containers,
  initContainers,
}: PodSpec): readonly { readonly container: Container; readonly path: Path }[] {
  return [
    ...items(containers).map((container, index) => ({ container, path: ['containers', index] })),
    ...items(initContainers).flatMap((container, index) =>
      record(container).restartPolicy === 'Always' ? [{ container, path: ['initContainers', index] }] : [],
    ),
  ];
}
