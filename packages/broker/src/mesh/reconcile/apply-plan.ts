/** Applies a plan to the cluster: all objects, or only the token keys if GitOps applies the rest. */
import type { Manifest } from '@meshpass/access';
import type { Log } from '../../base/index.ts';
import type { Kubernetes } from '../kubernetes/kubernetes.ts';
import { applyManifests } from './apply.ts';
import { applyKeysOnly } from './gitops.ts';

export interface ApplyPlanOptions {
  readonly kubernetes: Kubernetes;
  readonly mesh: { readonly rootNamespace: string; readonly gateway: { readonly namespace: string } };
  readonly gitops?: boolean;
  /** Unix seconds. */
  readonly now: () => number;
  readonly log: Log;
}

/** Longest `ttl` of a grant (an hour), plus the clock skew that verifiers tolerate. */
const LONGEST_SVID_LIFE = 3600 + 120;

/**
 * Applies the plan's manifests.
 * @returns Unix seconds at which they must be applied again even without a change
 * @throws MeshpassError `kubernetes_unavailable`, `policy_drift`
 */
export async function applyPlan(
  { manifests }: { readonly manifests: readonly Manifest[] },
  { kubernetes, mesh, gitops, now, log }: ApplyPlanOptions,
): Promise<number | undefined> {
  const { rootNamespace, gateway } = mesh;
  const gatewayNamespace = gateway.namespace;
  if (gitops) return await applyKeysOnly(manifests, { kubernetes, gatewayNamespace });
  const { removed, nextChange } = await applyManifests(manifests, {
    kubernetes,
    rootNamespace,
    gatewayNamespace,
    now: now(),
    svidLife: LONGEST_SVID_LIFE,
  });
  if (removed.length > 0) log.info({ removed }, 'removed objects that the access file no longer needs');
  return nextChange;
}
