/** Schemas for fields that are used by more than one message. All of them have bounds. */
import { z } from 'zod';
import { isDnsLabel } from '../spiffe.ts';
import { isPlainText } from '../text.ts';

/** The maximum number of grants in a session. The broker never opens a session with more. */
export const MAX_GRANTS = 32;
export const dnsName = z.string().min(1).max(253);
export const port = z.number().int().min(1).max(65_535);
/** A Unix time up to the year 9999. Later times would overflow in calculations. */
export const unixSeconds = z.number().int().nonnegative().max(253_402_300_799);
/** Creates the schema for text that may be printed to a terminal. */
export const text = (longest: number) => z.string().max(longest).refine(isPlainText, 'contains control characters');
export const grant = z.string().refine(isDnsLabel, 'is not a valid grant name');
/** 32 bytes in base64url, such as a SHA-256 digest. */
export const digest = z.string().regex(/^[A-Za-z0-9_-]{43}$/);
/**
 * A compact JWS. It may only contain the characters of its alphabet (RFC 7515 section 3.1), because it is sent in
 * request headers.
 */
export const compactJws = z
  .string()
  .max(16_384)
  .regex(/^[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+){2}$/);

/** A public P-256 key with only those members that RFC 7638 hashes. */
export const PublicKey = z.object({
  kty: z.literal('EC'),
  crv: z.literal('P-256'),
  x: digest,
  y: digest,
});
export type PublicKey = z.infer<typeof PublicKey>;
