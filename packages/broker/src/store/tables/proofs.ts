/** Single-use proofs and facts that GitHub revoked. */

/** Tables of proofs and revoked facts. */
export const PROOF_TABLES = {
  /** Single-use proofs that were used. */
  proof_replay: {
    /** SHA-256 of issuer and `jti`, or of the proof's signed part if it has no `jti`, hex. */
    key: 'text primary key',
    expires_at: 'timestamptz not null',
  },
  /** Facts that GitHub revoked (attest/github/losses.ts). */
  losses: {
    fact: 'text primary key',
    learnt_at: 'timestamptz not null',
  },
} as const;

/** Index of proofs. */
export const PROOF_INDEXES = [`create index proof_replay_expiry on proof_replay (expires_at)`];
