/** Creates DPoP proofs (RFC 9449). */
import type { KeyObject } from 'node:crypto';
import { sha256Base64url } from './hash.ts';
import { signJws } from './jws/es256.ts';

/** A P-256 key pair. The public key is a JWK with only those members that RFC 7638 hashes. */
export interface DpopKey {
  readonly privateKey: KeyObject;
  readonly jwk: { readonly kty: 'EC'; readonly crv: 'P-256'; readonly x: string; readonly y: string };
}

export interface DpopProofOptions {
  readonly key: DpopKey;
  readonly method: string;
  /** The absolute URL of the request. Its query and fragment are left out of `htu` (RFC 9449 section 4.2). */
  readonly url: string;
  /** The current time, in Unix seconds. */
  readonly now: number;
  /** A value that is different for every proof. */
  readonly jti: string;
  /** The session token that is sent with the request. Its hash becomes `ath`. */
  readonly accessToken?: string;
}

/** Derives the DPoP key from the key object of a private P-256 key. */
export function dpopKey(privateKey: KeyObject): DpopKey {
  const { x, y } = privateKey.export({ format: 'jwk' });
  return { privateKey, jwk: { kty: 'EC', crv: 'P-256', x: x!, y: y! } };
}

/** Returns the SHA-256 thumbprint of a JWK (RFC 7638), which is the value of `cnf.jkt`. */
export function dpopThumbprint(jwk: DpopKey['jwk']): string {
  return sha256Base64url(`{"crv":"${jwk.crv}","kty":"${jwk.kty}","x":"${jwk.x}","y":"${jwk.y}"}`);
}

/** Signs a DPoP proof JWT with ES256 (RFC 9449 section 4.2). */
export function createDpopProof(options: DpopProofOptions): string {
  const url = new URL(options.url);
  const claims = {
    jti: options.jti,
    htm: options.method,
    htu: url.origin + url.pathname,
    iat: options.now,
    ...(options.accessToken !== undefined && { ath: sha256Base64url(options.accessToken) }),
  };
  return signJws({ typ: 'dpop+jwt', jwk: options.key.jwk }, claims, options.key.privateKey);
}

/**
 * Derives the `nonce` for an operator's sign-in (OpenID Connect Core section 3.1.2.1) from the key that the session
 * will be bound to. If an ID token is stolen, it is useless without that key.
 * @param jkt the thumbprint of the key (RFC 7638)
 */
export function operatorNonce(jkt: string): string {
  return sha256Base64url(`meshpass operator sign-in ${jkt}`);
}
