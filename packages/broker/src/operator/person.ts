/** The person behind an ID token of an operator: when they sign in, and when their issuer confirms them. */
import { type Access, operatorClientOf, type TrustedIssuer } from '@meshpass/access';
import { type Attestation, MeshpassError } from '@meshpass/identity';
import type { Attested } from '../attest/attested.ts';
import { givenAt } from '../attest/oidc/freshness.ts';
import { attestOidc } from '../attest/oidc/oidc.ts';
import { onlyAudience } from '../attest/oidc/person.ts';
import type { VerifyOptions } from '../attest/oidc/verify-id-token.ts';
import { printable } from '../attest/printable.ts';

export interface Person {
  readonly attestation: Attestation;
  readonly replay: Attested['replay'] | undefined;
  /** When the issuer gave the ID token, Unix seconds; 0 where it does not say. */
  readonly given: number;
}

/**
 * @returns who an ID token names that was issued to the client of operators, and to nobody else
 * @throws MeshpassError `proof_*`, `issuer_unavailable`
 */
export async function attestPerson(token: string, { trust }: Access, options: VerifyOptions): Promise<Person> {
  // What a workspace proves itself with, or signs in with where operators have a client of their own, is for another audience, and is nothing here.
  const issuers = trust.issuers.flatMap(({ signIn, ...issuer }): TrustedIssuer[] =>
    signIn ? [{ ...issuer, audience: operatorClientOf(signIn) }] : [],
  );
  const attested = await attestOidc({ type: 'oidc', token }, issuers, { teams: [], roles: [] }, options);
  const attestation = printable(attested.attestation);
  const { aud, azp, iat } = attestation.claims;
  const client = onlyAudience(aud);
  if (client === undefined)
    throw new MeshpassError(
      'proof_audience',
      'This ID token has further audiences: it must be for the client of operators alone.',
    );
  if (azp !== undefined && azp !== client)
    throw new MeshpassError('proof_audience', 'This ID token was issued to another client (azp).');
  const signIn = trust.issuers.find(({ name }) => name === attestation.issuer)?.signIn;
  const given = typeof iat === 'number' && signIn ? givenAt(iat, signIn) : 0;
  return { attestation, replay: attested.replay, given };
}
