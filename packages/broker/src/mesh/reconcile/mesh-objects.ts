/** Reduces Services, Pods and AuthorizationPolicies to the fields that policy needs. */
import { clusterRoleOf, MANAGED_BY, MANAGED_BY_LABEL } from '@meshpass/access';
import {
  distinctWorkloads,
  type ForeignPolicy,
  foreignPolicyOf,
  hasEnded,
  type MeshClusterRole,
  type MeshService,
  meshServiceOf,
  serviceAccountOf,
} from '@meshpass/istio';
import { z } from 'zod';

type Workload = MeshService['workloads'][number];

const labels = z.record(z.string(), z.string());
const metadata = z.object({
  name: z.string(),
  namespace: z.string(),
  labels: labels.optional(),
  annotations: labels.optional(),
});

const Service = z.object({
  metadata,
  spec: z.object({
    type: z.string().optional(),
    selector: labels.optional(),
    clusterIP: z.string().optional(),
    clusterIPs: z.array(z.string()).optional(),
    ports: z
      .array(
        z.object({
          port: z.number(),
          targetPort: z.union([z.number(), z.string()]).optional(),
          name: z.string().optional(),
          protocol: z.string().optional(),
          appProtocol: z.string().optional(),
        }),
      )
      .optional(),
  }),
});

const Namespace = z.object({
  metadata: z.object({ name: z.string(), labels: labels.optional(), deletionTimestamp: z.string().optional() }),
});

export interface LiveNamespace {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
}

/** Returns undefined for a namespace that is being deleted, which accepts no new objects. */
export function toNamespace(object: unknown): LiveNamespace | undefined {
  const { name, labels = {}, deletionTimestamp } = Namespace.parse(object).metadata;
  return deletionTimestamp === undefined ? { name, labels } : undefined;
}

/** Returns a Service without its workloads; undefined if it has none in this cluster. */
export function toService(object: unknown): Omit<MeshService, 'workloads'> | undefined {
  return meshServiceOf(Service.parse(object));
}

const Pod = z.object({
  metadata,
  spec: z.object({ serviceAccountName: z.string().optional() }),
  status: z.object({ phase: z.string().optional() }).optional(),
});

export interface RunningPod extends Workload {
  readonly namespace: string;
}

/** Returns undefined for a Pod that has ended. */
export function toPod(object: unknown): RunningPod | undefined {
  const { metadata, spec, status } = Pod.parse(object);
  if (hasEnded(status?.phase)) return undefined;
  return { namespace: metadata.namespace, labels: metadata.labels ?? {}, serviceAccount: serviceAccountOf(spec) };
}

/** Adds the distinct workloads that a Service selects. */
export function withWorkloads(service: Omit<MeshService, 'workloads'>, pods: readonly RunningPod[]): MeshService {
  const inside = pods.filter(({ namespace }) => namespace === service.namespace);
  return { ...service, workloads: distinctWorkloads(service.selector, inside) };
}

const ClusterRole = z.looseObject({ metadata: z.object({ name: z.string(), labels: labels.optional() }) });

/** Reads a role. Its rules are checked when used, so that one unusual role does not hide the others. */
export function toClusterRole(object: unknown): MeshClusterRole {
  return clusterRoleOf(ClusterRole.parse(object) as Parameters<typeof clusterRoleOf>[0]);
}

const Policy = z.object({
  metadata: metadata.extend({ generation: z.number().optional() }),
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

const Versioned = z.object({ metadata: z.object({ generation: z.number().optional() }) });

/** Returns the generation of an object for which only changes matter. */
export function toGeneration(object: unknown): number {
  return Versioned.parse(object).metadata.generation ?? 0;
}
