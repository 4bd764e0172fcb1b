/**
 * Response to a presence challenge (docs/interfaces/protocol.md): a compact JWS (RFC 7515) by which a workspace proves
 * that the holder of a DPoP key also answers on one of its ports.
 */

import type { DpopKey } from './dpop.ts';
import { sha256Base64url } from './hash.ts';
import { signJws } from './jws/es256.ts';
import type { PresenceChallenge } from './wire.ts';

/**
 * `typ` of the JWS (RFC 8725 section 3.11), so that it cannot be confused with a DPoP proof signed with the same key.
 */
export const PRESENCE_TYPE = 'meshpass-presence+jwt';

export interface PresenceProofOptions {
  /** Key of the exchange's DPoP proofs, to which the session is bound. */
  readonly key: DpopKey;
  readonly challenge: Pick<PresenceChallenge, 'nonce' | 'path'>;
  /**
   * Broker URL from the workspace's configuration, never from the challenge, so that no other broker can use the
   * response.
   */
  readonly broker: string;
  /** CODESPACE_NAME. */
  readonly codespaceName: string;
  /** Unix seconds by the broker's clock. */
  readonly expiresAt: number;
  /** DPoP proof of the exchange that offered presence. Absent if the challenge came with a refusal. */
  readonly dpop?: string;
}

/** Digest that binds a presence response to the exchange that offered presence. */
export const exchangeDigest = (dpop: string): string => sha256Base64url(dpop);

/** Request path for a workspace that offered presence. Contains the nonce. */
export const presencePath = (nonce: string): string => `/${nonce}`;

/** Signs the response with ES256 (RFC 7518 section 3.4). */
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
