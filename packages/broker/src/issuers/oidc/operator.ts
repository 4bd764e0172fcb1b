/** Verifies the ID tokens of operators, both when they sign in and when their sign-in is confirmed later. */
import { type Access, operatorClientOf, type TrustedIssuer } from '@meshpass/access';
import { type Attestation, MeshpassError } from '@meshpass/identity';
import type { AttestationResult } from '../attested.ts';
import { requirePrintable } from '../printable.ts';
import { attestOidc } from './oidc.ts';
import { onlyAudience } from './person.ts';
import { correctedIssuedAt } from './sign-in.ts';
import type { VerifyOptions } from './verify-id-token.ts';

/** A user whose ID token was verified. */
export interface VerifiedPerson {
  readonly attestation: Attestation;
  readonly replay: AttestationResult['replay'] | undefined;
  /** When the ID token was issued, in Unix seconds, or 0 if this is unknown. */
  readonly given: number;
}

/**
 * Verifies an ID token whose only audience is the operator client.
 * @throws MeshpassError `proof_*`, `issuer_unavailable`
 */
export async function verifyOperatorIdToken(
  token: string,
  { trust }: Access,
  options: VerifyOptions,
): Promise<VerifiedPerson> {
  // ID tokens from workspaces are rejected here because they have a different audience. If operators have their own
  // client, the same is true of ID tokens from developer sign-ins.
  const issuers = trust.issuers.flatMap(({ signIn, ...issuer }): TrustedIssuer[] =>
    signIn ? [{ ...issuer, audience: operatorClientOf(signIn) }] : [],
  );
  const attested = await attestOidc({ type: 'oidc', token }, issuers, options);
  const attestation = requirePrintable(attested.attestation);
  const { aud, azp, iat } = attestation.claims;
  const client = onlyAudience(aud);
  if (client === undefined)
    throw new MeshpassError(
      'proof_audience',
      'This ID token has additional audiences. Its only audience must be the operator client.',
    );
  if (azp !== undefined && azp !== client)
    throw new MeshpassError('proof_audience', 'This ID token was issued to a different client (azp).');
  const signIn = trust.issuers.find(({ name }) => name === attestation.issuer)?.signIn;
  const given = typeof iat === 'number' && signIn ? correctedIssuedAt(iat, signIn) : 0;
  return { attestation, replay: attested.replay, given };
}
