/**
 * Which ends of access are written into the root DENY. Edge, broker and Kubernetes end all of them; the DENY is for who has taken an
 * SVID's key and stands on the cluster's own network. Writing it makes every Envoy of the mesh wind up its connections, so an
 * operator may want it only where the keys may be in bad hands (docs/ending-sessions.md, docs/decisions/0011-deny-ended.md).
 */
import { timestamp } from '../clock/clock.ts';
import type { RevokedPrincipal } from '../reconcile/contract.ts';
import type { CloseCause } from '../store/close-causes.ts';

export const DENY_ENDED = ['always', 'revoked'] as const;
export type DenyEnded = (typeof DENY_ENDED)[number];

/** Whether what ended by this cause is denied in the mesh; a cause that is not known is. */
export type Denies = (cause: string | undefined) => boolean;

/** The workspace itself is over, or its time is; in every other case access was taken away from one that may run on. */
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

export function deniesEnded(mode: DenyEnded): Denies {
  if (mode === 'always') return () => true;
  return (cause) =>
    cause === undefined || !Object.hasOwn(OVER_BY_ITSELF, cause) || !OVER_BY_ITSELF[cause as CloseCause];
}

/** For the audit row of an end that is not denied: that it is not, and until when an SVID lives. Empty for any other. */
export function undeniedDetail(principals: readonly RevokedPrincipal[]): Readonly<Record<string, unknown>> {
  const undenied = principals.filter((one) => one.undenied);
  if (undenied.length === 0) return {};
  return { denied_in_mesh: false, svids_live_until: timestamp(Math.max(...undenied.map(({ until }) => until))) };
}
