/** Reduces Namespaces, Pods and AuthorizationPolicies to the fields that policy needs. */
import { MANAGED_BY, MANAGED_BY_LABEL } from '@meshpass/access';
import {
  distinctWorkloads,
  type ForeignPolicy,
  foreignPolicyOf,
  hasEnded,
  type MeshService,
  serviceAccountOf,
} from '@meshpass/istio';
import { z } from 'zod';

type Workload = MeshService['workloads'][number];

interface Metadata {
  readonly name: string;
  readonly labels?: Readonly<Record<string, string>>;
}

export interface LiveNamespace {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
}

/** Returns undefined for a namespace that is being deleted, which accepts no new objects. */
export function toNamespace({
  metadata: { name, labels = {}, deletionTimestamp },
}: {
  readonly metadata: Metadata & { readonly deletionTimestamp?: string };
}): LiveNamespace | undefined {
  return deletionTimestamp === undefined ? { name, labels } : undefined;
}

export interface RunningPod extends Workload {
  readonly namespace: string;
}

/** Returns undefined for a Pod that has ended. */
export function toPod({
  metadata,
  spec,
  status,
}: {
  readonly metadata: Metadata & { readonly namespace: string };
  readonly spec: { readonly serviceAccountName?: string };
  readonly status?: { readonly phase?: string };
}): RunningPod | undefined {
  if (hasEnded(status?.phase)) return undefined;
  return { namespace: metadata.namespace, labels: metadata.labels ?? {}, serviceAccount: serviceAccountOf(spec) };
}

/** Adds the distinct workloads that a Service selects. */
export function withWorkloads(service: Omit<MeshService, 'workloads'>, pods: readonly RunningPod[]): MeshService {
  const inside = pods.filter(({ namespace }) => namespace === service.namespace);
  return { ...service, workloads: distinctWorkloads(service.selector, inside) };
}

const labels = z.record(z.string(), z.string());
const Policy = z.object({
  metadata: z.object({
    name: z.string(),
    namespace: z.string(),
    labels: labels.optional(),
    annotations: labels.optional(),
    generation: z.number().optional(),
  }),
  spec: z
    .object({
      action: z.enum(['ALLOW', 'DENY', 'AUDIT', 'CUSTOM']).optional(),
      selector: z.object({ matchLabels: labels.optional() }).optional(),
      targetRef: z.unknown().optional(),
      targetRefs: z.array(z.unknown()).optional(),
    })
    .optional(),
});

export type WatchedPolicy =
  | { readonly ours: true; readonly name: string; readonly generation: number | undefined }
  /** The policy is undefined if no sidecar enforces it. */
  | { readonly ours: false; readonly policy: ForeignPolicy | undefined; readonly generation?: number | undefined };

/**
 * Reads a policy with its generation, which reveals edits. Ours are then rewritten, and foreign policies are checked
 * again.
 */
export function toPolicy(object: unknown): WatchedPolicy {
  const { metadata, spec } = Policy.parse(object);
  const { name, generation } = metadata;
  if (metadata.labels?.[MANAGED_BY_LABEL] === MANAGED_BY) return { ours: true, name, generation };
  return { ours: false, policy: foreignPolicyOf({ metadata, spec }), generation };
}
