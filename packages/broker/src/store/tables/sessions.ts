/** Sessions and their principals. */

/** Tables of sessions. */
export const SESSION_TABLES = {
  /** Sessions, live and ended. */
  sessions: {
    id: 'text primary key',
    /** SHA-256 of the session token, hex. The token itself is stored nowhere. */
    token_hash: 'text not null unique',
    /** RFC 7638 thumbprint of the DPoP key. */
    jkt: 'text not null',
    issuer: 'text not null',
    subject: 'text not null',
    login: 'text not null',
    workspace_key: 'text not null',
    /** JSON text of the attestation, used to re-evaluate access when the access file changes. */
    attestation: 'text not null',
    opened_at: 'timestamptz not null',
    closed_at: 'timestamptz',
    close_cause: 'text',
    /** Lease end after a broker restart, until the next heartbeat (core/session/leases.ts). */
    graced_until: 'timestamptz',
    /** JSON text of sign-ins, which replaces those in `attestation`; null if none. */
    sign_ins: 'text',
  },
  /** Principals of sessions. */
  session_principals: {
    session_id: 'text not null references sessions (id)',
    grant_name: 'text not null',
    namespace: 'text not null',
    service_account: 'text not null',
    spiffe_id: 'text not null',
    /** Hard end of the grant. */
    until: 'timestamptz not null',
    /** JSON text: cause, time and limit of the gain; null if the session opened with the grant. */
    gained: 'text',
    /** Latest possible expiry of an SVID; null before the first certificate request. */
    last_not_after: 'timestamptz',
    /** Set when the principal lost its access, with or without its session. */
    revoked_at: 'timestamptz',
    /** Cause if it lost access without its session; otherwise see `sessions.close_cause`. */
    revoke_cause: 'text',
  },
} as const;

/** Indexes and keys of sessions. */
export const SESSION_INDEXES = [
  // At most one live session per workspace, even if the broker has a bug.
  `create unique index sessions_live on sessions (workspace_key) where closed_at is null`,
  // A grant that is lost and gained again has another principal, because the former one may still be denied.
  `alter table session_principals add primary key (session_id, grant_name, service_account)`,
  `create unique index session_principals_held on session_principals (session_id, grant_name) where revoked_at is null`,
  `create index session_principals_revoked on session_principals (last_not_after) where revoked_at is not null`,
];
