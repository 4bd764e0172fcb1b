/**
 * What an issuer says of somebody becomes claims of our tokens, names in the mesh, rows of the audit log and lines on a terminal.
 * A control character or an override of direction there makes it look like what it is not; nobody has one in their name.
 */
import { type Attestation, MeshpassError } from '@meshpass/identity';
import { isPlainText } from '@meshpass/identity/text';

/**
 * Looks at every text of an attestation, and at every claim, by name and value.
 * @throws MeshpassError `proof_unprintable`
 */
export function printable(attestation: Attestation): Attestation {
  const kept = { ...attestation, claims: printableClaims(attestation.claims) };
  refuseUnprintable(kept);
  return kept;
}

/**
 * The claims of a token, before anything is done with them: whoever reads one, for a session or for an access file, starts here. The claim
 * `address` may have line breaks (OpenID Connect Core section 5.1.1): it is left out.
 * @throws MeshpassError `proof_unprintable`
 */
export function printableClaims<Claims extends Readonly<Record<string, unknown>>>(
  claims: Claims,
): Omit<Claims, 'address'> {
  const { address: _, ...kept } = claims;
  refuseUnprintable(kept);
  return kept;
}

function refuseUnprintable(all: object): void {
  const open: unknown[] = [all];
  while (open.length > 0) {
    const value = open.pop();
    if (typeof value === 'string' && !isPlainText(value)) throw unprintable();
    if (typeof value !== 'object' || value === null) continue;
    for (const [name, member] of Object.entries(value)) {
      if (!isPlainText(name)) throw unprintable();
      open.push(member);
    }
  }
}

function unprintable(): MeshpassError {
  return new MeshpassError(
    'proof_unprintable',
    'Your claims have control characters or direction overrides; correct them at the issuer.',
  );
}
