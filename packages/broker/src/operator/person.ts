/** The person behind an ID token of an operator: when they sign in, and when their issuer confirms them. */
import type { Access, TrustedIssuer } from '@meshpass/access';
import { type Attestation, MeshpassError } from '@meshpass/identity';
import type { Attested } from '../attest/attested.ts';
import { attestOidc } from '../attest/oidc/oidc.ts';
import type { VerifyOptions } from '../attest/oidc/verify-id-token.ts';
import { printable } from '../attest/printable.ts';

/** Of the issuer's clock and ours, for the time that its word counts, seconds. */
const CLOCK_SECONDS = 15;

/**
 * @returns who an ID token names that was issued to the client of `signIn`, and to nobody else
 * @throws MeshpassError `proof_*`, `issuer_unavailable`
 */
export async function attestPerson(
  token: string,
  { trust }: Access,
  options: VerifyOptions,
): Promise<{ readonly attestation: Attestation; readonly replay: Attested['replay'] | undefined }> {
  // What a workspace proves itself with is for another audience, and is nothing here.
  const issuers = trust.issuers.flatMap(({ signIn, ...issuer }): TrustedIssuer[] =>
    signIn ? [{ ...issuer, audience: signIn.client }] : [],
  );
  const attested = await attestOidc({ type: 'oidc', token }, issuers, { teams: [], roles: [] }, options);
  const attestation = printable(attested.attestation);
  const { aud } = attestation.claims;
  if (Array.isArray(aud) && aud.length !== 1)
    throw new MeshpassError(
      'proof_audience',
      'This ID token has further audiences: it must be for the client of signIn alone.',
    );
  return { attestation, replay: attested.replay };
}

/** When the issuer gave an ID token, Unix seconds; undefined where it does not say. */
export function givenAt({ issuer, claims: { iat } }: Attestation, { trust }: Access): number | undefined {
  if (typeof iat !== 'number') return undefined;
  return iat + (trust.issuers.find(({ name }) => name === issuer)?.signIn?.backdated ?? 0);
}

/** From when on the word of an ID token counts: from when it was given, also where it is shown later. */
export function confirmationTime(attestation: Attestation, access: Access, now: number): number {
  const given = givenAt(attestation, access);
  return given === undefined ? 0 : Math.min(now, given + CLOCK_SECONDS);
}
