/** The result of an attestation, in the form that the rest of the broker uses. */
import type { Attestation } from '@meshpass/identity';

/** The outcome of a Codespace's presence check. `unreachable` is only accepted in the presence mode `preferred`. */
export type PresenceOutcome = 'answered' | 'unreachable' | 'not_asked';

export interface AttestationResult {
  readonly attestation: Attestation;
  /**
   * Prevents single-use proofs from being replayed. The store rejects a key that it has already seen
   * (`proof_replayed`). `key` is the SHA-256 hash, in hex, of the issuer and the proof's `jti`, or of its signing input
   * if it has no `jti`. `expiresAt` (ISO 8601) is when the proof expires.
   */
  readonly replay?: { readonly key: string; readonly expiresAt: string };
  /** The outcome of the presence check, which is recorded in the audit log. */
  readonly presence?: PresenceOutcome;
}
