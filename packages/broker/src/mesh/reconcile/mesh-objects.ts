/** Reduces Namespaces, Pods and AuthorizationPolicies from the API server to the fields that policy needs. */
import { isOurs } from '@meshpass/access';
import {
  distinctWorkloads,
  foreignPolicyOf,
  hasEnded,
  type MeshService,
  type ResourceOf,
  serviceAccountOf,
} from '@meshpass/istio';

/** Converts a namespace. Returns undefined if it is being deleted, because it does not accept new objects. */
export function toNamespace({
  metadata: { name, labels = {}, deletionTimestamp },
}: {
  readonly metadata: ResourceOf<'Namespace'>['metadata'] & { readonly deletionTimestamp?: string };
}) {
  return deletionTimestamp === undefined ? { name, labels } : undefined;
}

/** Converts a Pod. Returns undefined if it has ended. */
export function toPod({ metadata, spec = {}, status }: Pick<ResourceOf<'Pod'>, 'metadata' | 'spec' | 'status'>) {
  if (hasEnded(status?.phase)) return undefined;
  return { namespace: metadata.namespace, labels: metadata.labels ?? {}, serviceAccount: serviceAccountOf(spec) };
}

export type RunningPod = NonNullable<ReturnType<typeof toPod>>;

/** Adds the distinct workloads that a Service selects to the Service. */
export function withWorkloads(service: Omit<MeshService, 'workloads'>, pods: readonly RunningPod[]): MeshService {
  const inside = pods.filter(({ namespace }) => namespace === service.namespace);
  return { ...service, workloads: distinctWorkloads(service.selector, inside) };
}

/**
 * Reads a policy with its generation, which reveals edits. After an edit, the broker's own policies are rewritten, and
 * foreign policies are checked again. A foreign policy is undefined if no sidecar enforces it.
 */
export function toPolicy(
  object: Parameters<typeof foreignPolicyOf>[0] & { readonly metadata: { readonly generation?: number } },
) {
  const { name, generation } = object.metadata;
  return isOurs(object) ? { name, generation } : { policy: foreignPolicyOf(object), generation };
}
