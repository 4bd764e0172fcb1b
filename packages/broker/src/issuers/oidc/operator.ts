/** Verifies the person behind an operator's ID token, at sign-in and at confirmations. */
import { type Access, operatorClientOf, type TrustedIssuer } from '@meshpass/access';
import { type Attestation, MeshpassError } from '@meshpass/identity';
import type { AttestationResult } from '../attested.ts';
import { requirePrintable } from '../printable.ts';
import { correctedIssuedAt } from './freshness.ts';
import { attestOidc } from './oidc.ts';
import { onlyAudience } from './person.ts';
import type { VerifyOptions } from './verify-id-token.ts';

/** Verified person. */
export interface VerifiedPerson {
  readonly attestation: Attestation;
  readonly replay: AttestationResult['replay'] | undefined;
  /** Issue time of the ID token, Unix seconds; 0 if absent. */
  readonly given: number;
}

/**
 * Verifies an ID token that was issued to the operators' client alone.
 * @throws MeshpassError `proof_*`, `issuer_unavailable`
 */
export async function verifyOperatorIdToken(
  token: string,
  { trust }: Access,
  options: VerifyOptions,
): Promise<VerifiedPerson> {
  // Workspace ID tokens have a different audience and are rejected here. If operators have their own client, this includes
  // sign-ins.
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
