/** What an attestor gives to the rest of the broker. */
import type { Attestation } from '@meshpass/identity';
import type { Shown } from './presence/presence.ts';

export interface Attested {
  readonly attestation: Attestation;
  /**
   * Set where a proof is good for one use: the store refuses a key that it has seen (`proof_replayed`).
   * `key` is the SHA-256 of the issuer and the proof's `jti`, or its signed part where it has none, in hex;
   * `expiresAt` (ISO 8601) is when the proof is dead by itself.
   */
  readonly replay?: { readonly key: string; readonly expiresAt: string };
  /** Of a Codespace: whether the workspace itself has answered, for the audit log. */
  readonly presence?: Shown;
}

/** An attestation that GitHub gave just now; or the id of a Codespace for which it gave none. */
export type Evidence = { readonly attestation: Attestation } | { readonly codespaceId: number };
