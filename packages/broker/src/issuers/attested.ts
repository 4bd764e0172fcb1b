/** Results of attestation, as used by the rest of the broker. */
import type { Attestation } from '@meshpass/identity';

/** Outcome of a Codespace's presence check. Only the presence mode `preferred` accepts `unreachable`. */
export type PresenceOutcome = 'answered' | 'unreachable' | 'not_asked';

export interface AttestationResult {
  readonly attestation: Attestation;
  /**
   * Replay protection for single-use proofs. The store rejects a key that it has already seen (`proof_replayed`). `key`
   * is the hex SHA-256 of the issuer and the proof's `jti`, or its signing input if it has no `jti`. `expiresAt` (ISO
   * 8601) is when the proof expires.
   */
  readonly replay?: { readonly key: string; readonly expiresAt: string };
  /** Outcome of the presence check, for the audit log. */
  readonly presence?: PresenceOutcome;
}
