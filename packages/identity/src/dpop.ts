/** DPoP proofs (RFC 9449), as the agent makes them. Node's own crypto: the agent carries no library for this. */
import { createHash, type KeyObject, sign } from 'node:crypto';

/** The public half of a P-256 key as a JWK with the members that RFC 7638 hashes. */
export interface DpopKey {
  readonly privateKey: KeyObject;
  readonly jwk: { readonly kty: 'EC'; readonly crv: 'P-256'; readonly x: string; readonly y: string };
}

export interface DpopProofOptions {
  readonly key: DpopKey;
  readonly method: string;
  /** Absolute URL of the request; query and fragment are left out of `htu` (RFC 9449 section 4.2). */
  readonly url: string;
  /** Unix seconds. */
  readonly now: number;
  /** Unique per proof. */
  readonly jti: string;
  /** The session token the request carries; its hash goes into `ath`. */
  readonly accessToken?: string;
}

/** The key a DPoP proof is signed with, from a private P-256 key object. */
export function dpopKey(privateKey: KeyObject): DpopKey {
  const { x, y } = privateKey.export({ format: 'jwk' });
  return { privateKey, jwk: { kty: 'EC', crv: 'P-256', x: x!, y: y! } };
}

/** JWK SHA-256 thumbprint (RFC 7638): the value of `cnf.jkt`. */
export function dpopThumbprint(jwk: DpopKey['jwk']): string {
  return createHash('sha256')
    .update(`{"crv":"${jwk.crv}","kty":"${jwk.kty}","x":"${jwk.x}","y":"${jwk.y}"}`)
    .digest('base64url');
}

/** Signs a DPoP proof JWT with ES256 (RFC 9449 section 4.2). */
export function createDpopProof(options: DpopProofOptions): string {
  const url = new URL(options.url);
  const header = { typ: 'dpop+jwt', alg: 'ES256', jwk: options.key.jwk };
  const claims = {
    jti: options.jti,
    htm: options.method,
    htu: url.origin + url.pathname,
    iat: options.now,
    ...(options.accessToken === undefined
      ? {}
      : { ath: createHash('sha256').update(options.accessToken).digest('base64url') }),
  };
  const input = `${encode(header)}.${encode(claims)}`;
  const signature = sign('sha256', Buffer.from(input), { key: options.key.privateKey, dsaEncoding: 'ieee-p1363' });
  return `${input}.${signature.toString('base64url')}`;
}

/**
 * The `nonce` of an operator's sign-in (OpenID Connect Core section 3.1.2.1): it follows from the key that the session will be bound to,
 * so that an ID token is worth nothing to whoever has another key.
 * @param jkt thumbprint of the key (RFC 7638)
 */
export function operatorNonce(jkt: string): string {
  return createHash('sha256').update(`meshpass operator sign-in ${jkt}`).digest('base64url');
}

function encode(json: unknown): string {
  return Buffer.from(JSON.stringify(json)).toString('base64url');
}
