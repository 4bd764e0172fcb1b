/** What an attestor gives to the rest of the broker. */
import { type Attestation, MeshpassError } from '@meshpass/identity';
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

/** Who an issuer has confirmed, whatever is decided then. */
export type Identity = Pick<Attestation, 'issuer' | 'subject' | 'login' | 'workspace'>;

/** Refuses a proof after its issuer has said whose it is: the refusal of a thief names who was robbed. */
export class IdentifiedRefusal extends MeshpassError {
  readonly identity: Identity;

  constructor({ code, message, cause, detail, retryAfter, members }: MeshpassError, identity: Identity) {
    super(code, message, { cause, detail, members, ...(retryAfter !== undefined && { retryAfter }) });
    this.identity = identity;
  }
}

/** An attestation that GitHub gave just now; or the id of a Codespace for which it gave none. */
export type Evidence = { readonly attestation: Attestation } | { readonly codespaceId: number };
