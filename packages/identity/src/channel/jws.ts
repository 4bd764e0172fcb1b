/** Compact JWS (RFC 7515 section 7.1) with ES256, as both ends of the control channel make and read it. Node's own crypto. */
import { createPublicKey, type KeyObject, sign, verify } from 'node:crypto';
import { z } from 'zod';

const COMPACT = /^([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]{86})$/;
const coordinate = z.string().regex(/^[A-Za-z0-9_-]{43}$/);

/** A public P-256 key with the members that RFC 7638 hashes. */
export const PublicKey = z.object({
  kty: z.literal('EC'),
  crv: z.literal('P-256'),
  x: coordinate,
  y: coordinate,
});
export type PublicKey = z.infer<typeof PublicKey>;

export interface ReadJws {
  readonly header: unknown;
  readonly claims: unknown;
  /** What was signed. */
  readonly input: string;
  readonly signature: Buffer;
}

/** @param header without `alg` */
export function signJws(header: object, claims: object, key: KeyObject): string {
  const input = `${encode({ ...header, alg: 'ES256' })}.${encode(claims)}`;
  const signature = sign('sha256', Buffer.from(input), { key, dsaEncoding: 'ieee-p1363' });
  return `${input}.${signature.toString('base64url')}`;
}

/** Takes a JWS apart without believing it; undefined for anything that is none. */
export function readJws(text: string): ReadJws | undefined {
  const match = COMPACT.exec(text);
  if (!match) return undefined;
  const [, header, claims, signature] = match as unknown as [string, string, string, string];
  return {
    header: decode(header),
    claims: decode(claims),
    input: `${header}.${claims}`,
    signature: Buffer.from(signature, 'base64url'),
  };
}

export function verifyJws({ input, signature }: ReadJws, key: KeyObject): boolean {
  return verify('sha256', Buffer.from(input), { key, dsaEncoding: 'ieee-p1363' }, signature);
}

/** @returns undefined where the coordinates are of no point of the curve */
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

function decode(part: string): unknown {
  try {
    return JSON.parse(Buffer.from(part, 'base64url').toString('utf8'));
  } catch {
    return undefined;
  }
}
