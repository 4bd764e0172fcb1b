/**
 * Response to a presence challenge (docs/interfaces/protocol.md). It is a compact JWS (RFC 7515) which proves that the
 * holder of a DPoP key also answers requests on a port of the workspace.
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
  /** Key that signs the DPoP proofs of the exchange and that the session is bound to. */
  readonly key: DpopKey;
  readonly challenge: Pick<PresenceChallenge, 'nonce' | 'path'>;
  /**
   * Broker URL from the workspace's configuration, never from the challenge. This prevents another broker from using
   * the response.
   */
  readonly broker: string;
  /** CODESPACE_NAME. */
  readonly codespaceName: string;
  /** Unix seconds by the broker's clock. */
  readonly expiresAt: number;
  /** DPoP proof of the exchange that offered presence. Absent if the challenge was part of a refusal. */
  readonly dpop?: string;
}

/** Returns the digest that binds a presence response to the exchange that offered presence. */
export const exchangeDigest = (dpop: string): string => sha256Base64url(dpop);

/** Returns the request path for a workspace that offered presence. The path contains the nonce. */
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
