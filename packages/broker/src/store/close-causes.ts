/** Why a session ended, as the store and the audit log have it. */

/** Each is in the audit log (`detail.cause`), in the store and in `meshpass_sessions_closed_total`; docs/ending-sessions.md. */
export const CLOSE_CAUSES = [
  /** The agent said so. */
  'goodbye',
  /** No heartbeat for the length of a lease. */
  'lease_lapsed',
  /** The hard limit: 12 hours, or what the grants say. */
  'expired',
  /** A new session of the same workspace: it was rebuilt, or its agent began anew. */
  'replaced',
  /** An operator. */
  'operator',
  /** The access file grants it nothing any more. */
  'access_removed',
  /** The access file trusts its issuer, or its organisation, no more. */
  'issuer_removed',
  /** GitHub says that its developer is not in the team, or the organisation, by which it had access. */
  'membership_lost',
  /** GitHub reports that its Codespace is not running. */
  'workspace_stopped',
  /** GitHub reports that its Codespace is deleted, or that the name is another's now. */
  'workspace_deleted',
  /** GitHub says that its job of GitHub Actions is over. */
  'job_ended',
  /** What was approved for it was withdrawn or taken back, and it held nothing else. */
  'approval_revoked',
  /** What it stood on was a sign-in at the company's identity provider, which was signed out there or in the workspace. */
  'signed_out',
  /** The same, which was not confirmed in time. */
  'sign_in_lapsed',
  /** The store was restored from a backup: whether it had ended since is not known. */
  'store_restored',
] as const;
export type CloseCause = (typeof CLOSE_CAUSES)[number];

/** What a person is told of a session that is over. */
export const CLOSED_BECAUSE: Readonly<Record<CloseCause, string>> = {
  goodbye: 'its agent ended it',
  lease_lapsed: 'its agent sent no heartbeat for too long',
  expired: 'it reached its time limit',
  replaced: 'its workspace opened a new one',
  operator: 'an operator closed it',
  access_removed: 'the access file no longer grants it anything',
  issuer_removed: 'the access file no longer trusts its issuer',
  membership_lost: 'GitHub reports that you are no longer in the team or organization that had access',
  workspace_stopped: 'GitHub reports that its Codespace is not running',
  workspace_deleted: 'GitHub reports that its Codespace is deleted',
  job_ended: 'GitHub reports that its job has ended',
  approval_revoked: 'its approval was withdrawn',
  signed_out: 'you signed out at the identity provider, or in the workspace',
  sign_in_lapsed: 'the identity provider has not confirmed your sign-in in time',
  store_restored: 'the broker’s database was restored from a backup',
};
