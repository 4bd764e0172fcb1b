/** Compares secrets in constant time. */
import { createHash, timingSafeEqual } from 'node:crypto';

/** Compares two strings without revealing where they differ. */
export function equalInConstantTime(a: string, b: string): boolean {
  // Hashes have equal lengths, so the comparison does not reveal the lengths of the strings either.
  return timingSafeEqual(createHash('sha256').update(a).digest(), createHash('sha256').update(b).digest());
}
