/** Defines the reasons why a session can be closed. */

/**
 * Explains each close cause to users. The causes also appear in the audit log (`detail.cause`), in the store and in
 * `meshpass_sessions_closed_total` (docs/ending-sessions.md).
 */
export const CLOSE_EXPLANATIONS = {
  /** The agent closed the session. */
  goodbye: 'its agent ended it',
  /** The agent did not send a heartbeat within the lease period. */
  lease_lapsed: 'its agent stopped sending heartbeats',
  /** The session reached its hard limit of 12 hours, or the limits of its grants. */
  expired: 'it reached its time limit',
  /** The workspace opened a new session, because it was rebuilt or its agent was restarted. */
  replaced: 'its workspace opened a new one',
  /** An operator closed the session. */
  operator: 'an operator closed it',
  /** The access file no longer grants the session any access. */
  access_removed: 'the access file no longer grants it any access',
  /** The access file no longer trusts the session's issuer or organization. */
  issuer_removed: 'the access file no longer trusts its issuer',
  /** GitHub reports that the developer has left the team or organization that had access. */
  membership_lost: 'GitHub reports that you are no longer in the team or organization that had access',
  /** GitHub reports that the session's Codespace is not running. */
  workspace_stopped: 'GitHub reports that its Codespace is not running',
  /** GitHub reports that the session's Codespace was deleted, or that its name now belongs to another Codespace. */
  workspace_deleted: 'GitHub reports that its Codespace was deleted',
  /** GitHub reports that the session's GitHub Actions job has ended. */
  job_ended: 'GitHub reports that its job has ended',
  /** The approval of the session's only grants was withdrawn or revoked. */
  approval_revoked: 'its approval was withdrawn',
  /** The sign-in that the session's grants required was ended, either at the identity provider or in the workspace. */
  signed_out: 'you signed out at the identity provider or in the workspace',
  /** The sign-in that the session's grants required was not confirmed in time. */
  sign_in_lapsed: 'the identity provider did not confirm your sign-in in time',
  /** The store was restored from a backup, so it is unknown whether the session had ended. */
  store_restored: "the broker's database was restored from a backup",
} as const;
export type CloseCause = keyof typeof CLOSE_EXPLANATIONS;

export const CLOSE_CAUSES = Object.keys(CLOSE_EXPLANATIONS) as readonly CloseCause[];
