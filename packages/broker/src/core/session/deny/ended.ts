/**
 * Decides which ended principals the root DENY policy includes. The edges, the broker and Kubernetes end all access.
 * The DENY policy stops an attacker with a stolen SVID key inside the cluster network. Every write to the policy makes
 * each Envoy in the mesh drain its connections, so operators can limit it to ends that suggest stolen keys
 * (docs/ending-sessions.md, docs/decisions/0011-deny-ended.md).
 */
import { timestamp } from '../../../base/index.ts';
import type { RevokedPrincipal } from '../../../mesh/index.ts';
import type { CloseCause } from '../../../store/index.ts';

/** DENY policy modes: every end of access, or only ends that revoke it. */
export const DENY_ENDED_MODES = ['always', 'revoked'] as const;
export type DenyEndedMode = (typeof DENY_ENDED_MODES)[number];

/** Whether the mesh denies principals that ended for this cause. Unknown causes are denied. */
export type DenialPredicate = (cause: string | undefined) => boolean;

/**
 * Causes that mean the workspace ended or reached its time limit. All other causes revoke access from a workspace that
 * may still be running.
 */
const OVER_BY_ITSELF: Readonly<Record<CloseCause, boolean>> = {
  goodbye: true,
  lease_lapsed: true,
  expired: true,
  replaced: true,
  workspace_stopped: true,
  workspace_deleted: true,
  job_ended: true,
  operator: false,
  access_removed: false,
  issuer_removed: false,
  membership_lost: false,
  approval_revoked: false,
  signed_out: false,
  sign_in_lapsed: false,
  store_restored: false,
};

/** Returns the predicate for a mode. */
export function createDenialPredicate(mode: DenyEndedMode): DenialPredicate {
  if (mode === 'always') return () => true;
  return (cause) =>
    cause === undefined || !Object.hasOwn(OVER_BY_ITSELF, cause) || !OVER_BY_ITSELF[cause as CloseCause];
}

/**
 * Returns audit details for principals that the mesh does not deny, with the expiry of their last SVID. Empty if all
 * are denied.
 */
export function undeniedDetail(principals: readonly RevokedPrincipal[]): Readonly<Record<string, unknown>> {
  const undenied = principals.filter((one) => one.undenied);
  if (undenied.length === 0) return {};
  return { denied_in_mesh: false, svids_live_until: timestamp(Math.max(...undenied.map(({ until }) => until))) };
}
