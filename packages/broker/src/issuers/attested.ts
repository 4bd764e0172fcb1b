/** Attestation results for the rest of the broker. */
import { type Attestation, MeshpassError, toMeshpassError } from '@meshpass/identity';

/** How a Codespace proved its presence. Only the presence mode `preferred` accepts `unreachable`. */
export type PresenceOutcome = 'answered' | 'unreachable' | 'not_asked';

export interface AttestationResult {
  readonly attestation: Attestation;
  /**
   * Replay protection for single-use proofs: the store rejects a key that it has seen (`proof_replayed`). `key` is the
   * hex SHA-256 of the issuer and the proof's `jti`, or of its signing input if it has no `jti`. `expiresAt` (ISO 8601)
   * is when the proof expires.
   */
  readonly replay?: { readonly key: string; readonly expiresAt: string };
  /** How a Codespace proved its presence, for the audit log. */
  readonly presence?: PresenceOutcome;
}

/** An identity confirmed by an issuer, regardless of the broker's decision. */
export type Identity = Pick<Attestation, 'issuer' | 'subject' | 'login' | 'workspace'>;

/** Refusal of a proof whose owner the issuer has identified, so that a stolen proof's audit row names the victim. */
export class IdentifiedRefusal extends MeshpassError {
  readonly identity: Identity;

  constructor({ code, message, cause, detail, retryAfter, members }: MeshpassError, identity: Identity) {
    super(code, message, { cause, detail, members, ...(retryAfter !== undefined && { retryAfter }) });
    this.identity = identity;
  }

  /** Completes the attestation of a person whom the issuer has identified. Every refusal names the identity. */
  static async naming<T>(identity: Identity, complete: () => T | Promise<T>): Promise<T> {
    try {
      return await complete();
    } catch (thrown) {
      throw new IdentifiedRefusal(toMeshpassError(thrown), identity);
    }
  }
}
