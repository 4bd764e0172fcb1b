/**
 * The answer to a presence challenge (docs/protocol.md): a compact JWS (RFC 7515) by which a workspace shows that the holder of
 * a DPoP key also answers on one of its ports. Node's own crypto, as for DPoP.
 */
import { sign } from 'node:crypto';
import type { DpopKey } from './dpop.ts';
import { sha256Base64url } from './hash.ts';
import type { PresenceChallenge } from './wire.ts';

/** `typ` of the JWS (RFC 8725 section 3.11): a DPoP proof of the same key must not pass for it, nor it for one. */
export const PRESENCE_TYPE = 'meshpass-presence+jwt';

export interface PresenceProofOptions {
  /** The key of the DPoP proofs of the exchange: the session is bound to it. */
  readonly key: DpopKey;
  readonly challenge: Pick<PresenceChallenge, 'nonce' | 'path'>;
  /** URL of the broker as the workspace is configured, never as the challenge says: an answer is of use to that broker alone. */
  readonly broker: string;
  /** CODESPACE_NAME. */
  readonly codespaceName: string;
  /** Unix seconds by the broker's clock. */
  readonly expiresAt: number;
  /** DPoP proof of the exchange that offered to be asked; absent where the challenge came with a refusal. */
  readonly dpop?: string;
}

/** What an answer says of the exchange that it belongs to, where that one offered to be asked. */
export const exchangeOf = (dpop: string): string => sha256Base64url(dpop);

/** The path that a workspace is asked for when it offered to be: it names the nonce. */
export const offeredPath = (nonce: string): string => `/${nonce}`;

/** Signs the answer with ES256 (RFC 7518 section 3.4). */
export function createPresenceProof(options: PresenceProofOptions): string {
  const { key, challenge } = options;
  const header = { typ: PRESENCE_TYPE, alg: 'ES256', jwk: key.jwk };
  const claims = {
    aud: options.broker,
    nonce: challenge.nonce,
    path: challenge.path,
    codespace: options.codespaceName,
    exp: options.expiresAt,
    ...(options.dpop !== undefined && { exchange: exchangeOf(options.dpop) }),
  };
  const input = `${encode(header)}.${encode(claims)}`;
  const signature = sign('sha256', Buffer.from(input), { key: key.privateKey, dsaEncoding: 'ieee-p1363' });
  return `${input}.${signature.toString('base64url')}`;
}

function encode(json: unknown): string {
  return Buffer.from(JSON.stringify(json)).toString('base64url');
}
