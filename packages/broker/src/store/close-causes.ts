/** Session close causes. */

/**
 * Causes in the audit log (`detail.cause`), in the store and in `meshpass_sessions_closed_total`
 * (docs/ending-sessions.md).
 */
export const CLOSE_CAUSES = [
  /** The agent closed the session. */
  'goodbye',
  /** No heartbeat came within the lease period. */
  'lease_lapsed',
  /** The session reached its hard limit: 12 hours, or the limits of its grants. */
  'expired',
  /** The workspace opened a new session: it was rebuilt, or its agent restarted. */
  'replaced',
  /** An operator closed the session. */
  'operator',
  /** The access file no longer grants it anything. */
  'access_removed',
  /** The access file no longer trusts its issuer or organization. */
  'issuer_removed',
  /** GitHub reports that its developer left the team or organization that had access. */
  'membership_lost',
  /** GitHub reports that its Codespace is not running. */
  'workspace_stopped',
  /** GitHub reports that its Codespace was deleted, or that its name now belongs to another Codespace. */
  'workspace_deleted',
  /** GitHub reports that its GitHub Actions job has ended. */
  'job_ended',
  /** The approval of its only grants was withdrawn or revoked. */
  'approval_revoked',
  /** The sign-in that its grants required was ended at the identity provider or in the workspace. */
  'signed_out',
  /** The sign-in that its grants required was not confirmed in time. */
  'sign_in_lapsed',
  /** The store was restored from a backup, so whether the session had ended is unknown. */
  'store_restored',
] as const;
export type CloseCause = (typeof CLOSE_CAUSES)[number];

/** Explanations for users whose sessions have ended. */
export const CLOSED_BECAUSE: Readonly<Record<CloseCause, string>> = {
  goodbye: 'its agent ended it',
  lease_lapsed: 'its agent stopped sending heartbeats',
  expired: 'it reached its time limit',
  replaced: 'its workspace opened a new one',
  operator: 'an operator closed it',
  access_removed: 'the access file no longer grants it any access',
  issuer_removed: 'the access file no longer trusts its issuer',
  membership_lost: 'GitHub reports that you are no longer in the team or organization that had access',
  workspace_stopped: 'GitHub reports that its Codespace is not running',
  workspace_deleted: 'GitHub reports that its Codespace was deleted',
  job_ended: 'GitHub reports that its job has ended',
  approval_revoked: 'its approval was withdrawn',
  signed_out: 'you signed out at the identity provider or in the workspace',
  sign_in_lapsed: 'the identity provider did not confirm your sign-in in time',
  store_restored: "the broker's database was restored from a backup",
};
