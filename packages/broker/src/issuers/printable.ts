/**
 * Rejects unprintable text. Text from an issuer ends up in our tokens, mesh names, audit rows and terminals. Control
 * characters and direction overrides could disguise it there. Real names never contain them.
 */
import { type Attestation, isPlainText, MeshpassError } from '@meshpass/identity';

/**
 * Checks that all strings in an attestation are printable, including the names and values of claims.
 * @throws MeshpassError `proof_unprintable`
 */
export function requirePrintable(attestation: Attestation): Attestation {
  return refuseUnprintable({ ...attestation, claims: printableClaims(attestation.claims) });
}

/**
 * Checks a token's claims and returns them. Code that reads claims must always use the returned value. The `address`
 * claim is dropped because it may contain line breaks (OpenID Connect Core section 5.1.1).
 * @throws MeshpassError `proof_unprintable`
 */
export function printableClaims<Claims extends Readonly<Record<string, unknown>>>(
  claims: Claims,
): Omit<Claims, 'address'> {
  const { address: _, ...kept } = claims;
  return refuseUnprintable(kept);
}

function refuseUnprintable<T extends object>(all: T): T {
  const open: unknown[] = [all];
  while (open.length > 0) {
    const value = open.pop();
    if (typeof value === 'string' && !isPlainText(value)) throw unprintable();
    if (typeof value !== 'object' || value === null) continue;
    // The names of members are texts as well.
    open.push(...Object.keys(value), ...Object.values(value));
  }
  return all;
}

function unprintable(): MeshpassError {
  return new MeshpassError(
    'proof_unprintable',
    'Your claims contain control characters or direction overrides. Correct them at the issuer.',
  );
}
