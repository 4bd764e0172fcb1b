/**
 * The response to a presence challenge (docs/interfaces/protocol.md). It is a compact JWS (RFC 7515), which proves that
 * the holder of a DPoP key also answers requests on a port of the workspace.
 */

import type { DpopKey } from './dpop.ts';
import { sha256Base64url } from './hash.ts';
import { signJws } from './jws/es256.ts';
import type { PresenceChallenge } from './wire.ts';

/**
 * The `typ` of the JWS (RFC 8725 section 3.11). It prevents confusion with a DPoP proof that is signed with the same
 * key.
 */
export const PRESENCE_TYPE = 'meshpass-presence+jwt';

export interface PresenceProofOptions {
  /** The key that signs the DPoP proofs of the exchange. The session is bound to this key. */
  readonly key: DpopKey;
  readonly challenge: Pick<PresenceChallenge, 'nonce' | 'path'>;
  /**
   * The broker URL from the workspace configuration, never from the challenge. This prevents other brokers from using
   * the response.
   */
  readonly broker: string;
  /** The value of CODESPACE_NAME. */
  readonly codespaceName: string;
  /** When the response expires, in Unix seconds by the broker's clock. */
  readonly expiresAt: number;
  /**
   * The DPoP proof of the exchange in which the workspace offered to prove its presence. Absent if the challenge was
   * part of an error response.
   */
  readonly dpop?: string;
}

/**
 * Returns the digest that binds a presence response to the exchange in which the workspace offered to prove its
 * presence.
 */
export const exchangeDigest = (dpop: string): string => sha256Base64url(dpop);

/**
 * Returns the path that the broker requests if the workspace offered to prove its presence. The path contains the
 * nonce.
 */
export const presencePath = (nonce: string): string => `/${nonce}`;

/** Signs a presence response with ES256 (RFC 7518 section 3.4). */
export function createPresenceProof(options: PresenceProofOptions): string {
  const { key, challenge } = options;
  const claims = {
    aud: options.broker,
    nonce: challenge.nonce,
    path: challenge.path,
    codespace: options.codespaceName,
    exp: options.expiresAt,
    ...(options.dpop !== undefined && { exchange: exchangeDigest(options.dpop) }),
  };
  return signJws({ typ: PRESENCE_TYPE, jwk: key.jwk }, claims, key.privateKey);
}
