/** Applies a plan to the cluster: all of it, or only the token keys where GitOps applies the rest. */
import type { Manifest } from '@meshpass/access';
import type { Kubernetes } from '../kubernetes/kubernetes.ts';
import type { Log } from '../telemetry/log.ts';
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

/** The longest `ttl` of a grant (an hour) and the clock skew that verifiers allow. */
const LONGEST_SVID_LIFE = 3600 + 120;

/**
 * @returns Unix seconds at which it must be applied again though nothing changes
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
