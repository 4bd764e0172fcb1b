/**
 * Compact JWS (RFC 7515 section 7.1) with ES256, for DPoP proofs, presence responses, lease proofs and the broker's
 * statements. This uses the crypto module of Node.js (docs/decisions/0046-written-by-hand.md).
 */
import { createPublicKey, type KeyObject, sign, verify } from 'node:crypto';
import type { PublicKey } from '../schema/fields.ts';
import { parseJwsPart } from './json.ts';

const COMPACT = /^([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)$/;
export interface ParsedJws {
  readonly header: unknown;
  readonly claims: unknown;
  /** The part of the JWS that is covered by the signature. */
  readonly input: string;
  readonly signature: Buffer;
}

/**
 * Signs claims with ES256.
 * @param header the protected header, which must not contain `alg`
 */
export function signJws(header: object, claims: object, key: KeyObject): string {
  const input = `${encode({ ...header, alg: 'ES256' })}.${encode(claims)}`;
  const signature = sign('sha256', Buffer.from(input), { key, dsaEncoding: 'ieee-p1363' });
  return `${input}.${signature.toString('base64url')}`;
}

/** Parses a compact JWS without verifying it. Returns undefined for any other text. */
export function parseJws(text: string): ParsedJws | undefined {
  const match = COMPACT.exec(text);
  if (!match) return undefined;
  const [, header, claims, signature] = match as unknown as [string, string, string, string];
  return {
    header: parseJwsPart(header),
    claims: parseJwsPart(claims),
    input: `${header}.${claims}`,
    signature: Buffer.from(signature, 'base64url'),
  };
}

/** Whether the signature of a parsed JWS is valid for a key. */
export function verifyJws({ input, signature }: ParsedJws, key: KeyObject): boolean {
  return verify('sha256', Buffer.from(input), { key, dsaEncoding: 'ieee-p1363' }, signature);
}

/**
 * Imports a public key.
 * @returns the key, or undefined if the coordinates are not those of a point on the curve
 */
export function publicKeyOf({ kty, crv, x, y }: PublicKey): KeyObject | undefined {
  try {
    return createPublicKey({ key: { kty, crv, x, y }, format: 'jwk' });
  } catch {
    return undefined;
  }
}

function encode(json: object): string {
  return Buffer.from(JSON.stringify(json)).toString('base64url');
}
