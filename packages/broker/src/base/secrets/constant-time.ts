/** Compares secrets in constant time. */
import { createHash, timingSafeEqual } from 'node:crypto';

/** Compares two texts without revealing where they differ. */
export function equalInConstantTime(a: string, b: string): boolean {
  // Hashes have equal lengths, so the comparison does not reveal the lengths of the texts either.
  return timingSafeEqual(createHash('sha256').update(a).digest(), createHash('sha256').update(b).digest());
}
