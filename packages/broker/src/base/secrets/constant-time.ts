/** Comparison in constant time. */
import { createHash, timingSafeEqual } from 'node:crypto';

/** Compares two texts without revealing where they differ. */
export function equalInConstantTime(a: string, b: string): boolean {
  // Hashes have equal lengths, so the lengths are not revealed either.
  return timingSafeEqual(createHash('sha256').update(a).digest(), createHash('sha256').update(b).digest());
}
