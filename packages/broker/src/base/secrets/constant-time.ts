/** Compares secrets in constant time to prevent timing attacks. */
import { createHash, timingSafeEqual } from 'node:crypto';

/** Compares two strings without revealing, through timing, where they differ. */
export function equalInConstantTime(a: string, b: string): boolean {
  // All hashes have the same length, so the comparison does not reveal how long the strings are either.
  return timingSafeEqual(createHash('sha256').update(a).digest(), createHash('sha256').update(b).digest());
}
