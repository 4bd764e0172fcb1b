/** Results of attestation, as used by the rest of the broker. */
import { type Attestation, MeshpassError, toMeshpassError } from '@meshpass/identity';

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

/** An identity that an issuer has confirmed, regardless of the broker's decision. */
export type Identity = Pick<Attestation, 'issuer' | 'subject' | 'login' | 'workspace'>;

/** Refusal of a proof whose owner the issuer has identified. If the proof was stolen, the audit row shows the owner. */
export class IdentifiedRefusal extends MeshpassError {
  readonly identity: Identity;

  constructor({ code, message, cause, detail, retryAfter, members }: MeshpassError, identity: Identity) {
    super(code, message, { cause, detail, members, ...(retryAfter !== undefined && { retryAfter }) });
    this.identity = identity;
  }

  /** Completes an attestation after the issuer has identified the user. Any error is rethrown with the identity. */
  static async naming<T>(identity: Identity, complete: () => T | Promise<T>): Promise<T> {
    try {
      return await complete();
    } catch (thrown) {
      throw new IdentifiedRefusal(toMeshpassError(thrown), identity);
    }
  }
}
