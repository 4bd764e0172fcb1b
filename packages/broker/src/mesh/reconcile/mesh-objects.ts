/** Reduces Namespaces, Pods and AuthorizationPolicies from the API server to the fields that policies depend on. */
import { isOurs } from '@meshpass/access';
import {
  distinctWorkloads,
  foreignPolicyOf,
  hasEnded,
  type MeshService,
  type ResourceOf,
  serviceAccountOf,
} from '@meshpass/istio';

/** Converts a namespace, or returns undefined if it is being deleted and therefore does not accept new objects. */
export function toNamespace({
  metadata: { name, labels = {}, deletionTimestamp },
}: {
  readonly metadata: ResourceOf<'Namespace'>['metadata'] & { readonly deletionTimestamp?: string };
}) {
  return deletionTimestamp === undefined ? { name, labels } : undefined;
}

/** Converts a Pod, or returns undefined if it is no longer running. */
export function toPod({ metadata, spec = {}, status }: Pick<ResourceOf<'Pod'>, 'metadata' | 'spec' | 'status'>) {
  if (hasEnded(status?.phase)) return undefined;
  return { namespace: metadata.namespace, labels: metadata.labels ?? {}, serviceAccount: serviceAccountOf(spec) };
}

export type RunningPod = NonNullable<ReturnType<typeof toPod>>;

/** Returns a copy of a Service with the distinct workloads that it selects. */
export function withWorkloads(service: Omit<MeshService, 'workloads'>, pods: readonly RunningPod[]): MeshService {
  const inside = pods.filter(({ namespace }) => namespace === service.namespace);
  return { ...service, workloads: distinctWorkloads(service.selector, inside) };
}

/**
 * Reads a policy together with its generation, which reveals whether it was edited. After an edit, the broker writes
 * its own policies again and checks all others again. A policy that the broker does not own is undefined if no sidecar
 * enforces it.
 */
export function toPolicy(
  object: Parameters<typeof foreignPolicyOf>[0] & { readonly metadata: { readonly generation?: number } },
) {
  const { name, generation } = object.metadata;
  return isOurs(object) ? { name, generation } : { policy: foreignPolicyOf(object), generation };
}
