/** Everything that a plan depends on, as the cluster has it at this moment: lists, not watches, so that nothing is older than asked. */
import { loadObject } from '@meshpass/policy/istio/load';
import type { Resource } from '@meshpass/policy/istio/resources';
import { OURS } from './denial.ts';
import type { Kubernetes } from './kubernetes.ts';
import { apiVersionOf } from './resources.ts';

/** @throws MeshpassError `kubernetes_unavailable` */
export async function readPolicyResources(
  kubernetes: Pick<Kubernetes, 'list'>,
  gatewayNamespace: string,
): Promise<readonly Resource[]> {
  const wanted: readonly (readonly [kind: string, selector: string, namespace?: string])[] = [
    ...['Service', 'Pod', 'Namespace'].map((kind) => [kind, ''] as const),
    ...['AuthorizationPolicy', 'RequestAuthentication', 'PeerAuthentication'].map((kind) => [kind, ''] as const),
    ['RoleBinding', OURS],
    // Of others' gateways nothing is asked: no plan writes them.
    ['Gateway', OURS, gatewayNamespace],
  ];
  const lists = await Promise.all(
    wanted.map(async ([kind, selector, namespace]) => {
      const objects = await kubernetes.list(kind, selector, namespace);
      const whole = objects.map((object) => ({ apiVersion: apiVersionOf(kind), kind, ...object }));
      return whole.flatMap((object) => [...loadObject(object, `${kind} ${object.metadata.name}`).resources]);
    }),
  );
  return lists.flat();
}
