/**
 * Decides which ended principals are included in the root DENY policy. The edges, the broker and Kubernetes already cut
 * off ended sessions. The DENY policy additionally stops an attacker inside the cluster network who has stolen an SVID
 * key. However, every write to the policy makes each Envoy in the mesh drain its connections, so operators can restrict
 * it to sessions that ended for a suspicious cause (docs/ending-sessions.md, docs/decisions/0011-deny-ended.md).
 */
import { timestamp } from '../../../base/index.ts';
import type { RevokedPrincipal } from '../../../mesh/index.ts';
import type { CloseCause } from '../../../store/index.ts';

/** The modes of the DENY policy. Principals are denied either whenever their access ends or only when it is revoked. */
export const DENY_ENDED_MODES = ['always', 'revoked'] as const;
export type DenyEndedMode = (typeof DENY_ENDED_MODES)[number];

/** Returns whether the mesh denies principals whose access ended for this cause. Unknown causes lead to a denial. */
export type DenialPredicate = (cause: string | undefined) => boolean;

/**
 * The causes for which a workspace ended or reached its time limit. All other causes, also those that a later version
 * adds, revoke the access of a workspace that may still be running.
 */
const OVER_BY_ITSELF: ReadonlySet<string> = new Set<CloseCause>([
  ...(['goodbye', 'lease_lapsed', 'expired', 'replaced'] as const),
  ...(['workspace_stopped', 'workspace_deleted', 'job_ended'] as const),
]);

/** Creates the denial predicate for the given mode. */
export function createDenialPredicate(mode: DenyEndedMode): DenialPredicate {
  if (mode === 'always') return () => true;
  return (cause) => cause === undefined || !OVER_BY_ITSELF.has(cause);
}

/**
 * Returns audit details about the principals that the mesh does not deny, including when the last of their SVIDs
 * expires. The result is empty if the mesh denies all of them.
 */
export function undeniedDetail(principals: readonly RevokedPrincipal[]): Readonly<Record<string, unknown>> {
  const undenied = principals.filter((one) => one.undenied);
  if (undenied.length === 0) return {};
  return { denied_in_mesh: false, svids_live_until: timestamp(Math.max(...undenied.map(({ until }) => until))) };
}
