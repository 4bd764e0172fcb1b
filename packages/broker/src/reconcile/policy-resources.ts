/** Everything that a plan depends on, as the cluster has it at this moment: lists, not watches, so that nothing is older than asked. */
import { toMeshpassError } from '@meshpass/identity';
import { loadObject, type Resource } from '@meshpass/istio';
import type { Kubernetes } from '../kubernetes/kubernetes.ts';
import { apiVersionOf } from '../kubernetes/resources.ts';
import { OURS } from './revocation/deny-policy.ts';

/** @throws MeshpassError `kubernetes_unavailable` */
export async function readPolicyResources(kubernetes: Pick<Kubernetes, 'list'>): Promise<readonly Resource[]> {
  const wanted: readonly (readonly [kind: string, selector: string, namespace?: string])[] = [
    ...['Service', 'Pod', 'Namespace'].map((kind) => [kind, ''] as const),
    ...['AuthorizationPolicy', 'RequestAuthentication', 'PeerAuthentication'].map((kind) => [kind, ''] as const),
    ['RoleBinding', OURS],
    // What the roles allow that a grant gives.
    ['ClusterRole', ''],
    // What stands before workloads: where it is not understood, a plan says so.
    ...['Gateway', 'ServiceEntry', 'Sidecar', 'EnvoyFilter'].map((kind) => [kind, ''] as const),
    ...['WasmPlugin', 'TrafficExtension'].map((kind) => [kind, ''] as const),
    // Where a route leads out of a grant.
    ['VirtualService', ''],
  ];
  const lists = await Promise.all(
    wanted.map(async ([kind, selector, namespace]) => {
      const objects = await kubernetes.list(kind, selector, namespace).catch(noneIfNotInstalled);
      const whole = objects.map((object) => ({ apiVersion: apiVersionOf(kind), kind, ...object }));
      return whole.flatMap((object) => [...loadObject(object, `${kind} ${object.metadata.name}`).resources]);
    }),
  );
  return lists.flat();
}

/** A kind that this version of Istio does not have has no objects. @throws whatever else it is */
function noneIfNotInstalled(thrown: unknown): readonly [] {
  const { status } = toMeshpassError(thrown).detail as { readonly status?: unknown };
  if (status === 404) return [];
  throw thrown;
}
