/** Schemas, with bounds, for fields that more than one message uses. */
import { z } from 'zod';
import { isDnsLabel } from '../spiffe.ts';
import { isPlainText } from '../text.ts';

/** Maximum number of grants per session. The broker never opens a session with more. */
export const MAX_GRANTS = 32;
export const port = z.number().int().min(1).max(65_535);
/** Unix time up to the year 9999. Later times would overflow in computations. */
export const unixSeconds = z.number().int().nonnegative().max(253_402_300_799);
/** Schema for text that may be printed to a terminal. */
export const text = (longest: number) => z.string().max(longest).refine(isPlainText, 'contains control characters');
export const grant = z.string().refine(isDnsLabel, 'is not a valid grant name');
/** SHA-256, base64url. */
export const digest = z.string().regex(/^[A-Za-z0-9_-]{43}$/);
/** Compact JWS, restricted to its alphabet (RFC 7515 section 3.1) because it is sent in request headers. */
export const compactJws = z
  .string()
  .max(16_384)
  .regex(/^[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+){2}$/);
