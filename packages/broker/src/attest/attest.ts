/** From a proof to an attestation: one attestor for each kind of proof. */

import type { Access } from '@meshpass/access';
import { MeshpassError, PROOF_TYPES, type Proof } from '@meshpass/identity';
import type { Attested } from './attested.ts';
import { attestCodespace, type CodespaceOptions } from './github/codespace.ts';
import { membershipQuery } from './github/memberships.ts';
import { attestOidc, type OidcOptions } from './oidc/oidc.ts';
import { type SignInBinding, unknownIssuer, type VerifiedSignIn, verifySignIn } from './oidc/sign-in.ts';
import type { Presenter } from './presence/presence.ts';
import { createTokenAttempts } from './token-attempts.ts';

/** @throws MeshpassError `proof_*`, `workspace_*`, `presence_*`, `too_many_attempts`, `issuer_unavailable`, `issuer_rate_limited`, `overloaded` */
export type Attest = (proof: Proof, presenter: Presenter) => Promise<Attested>;

export interface AttestOptions {
  /** The access file in force, asked anew for each proof. */
  readonly access: () => Access;
  readonly codespaces: CodespaceOptions;
  readonly oidc: OidcOptions;
}

export function createAttest(options: AttestOptions): Attest {
  const codespaces = { ...options.codespaces, attempts: createTokenAttempts(options.codespaces.api.clock) };
  return async (proof, presenter) => {
    const access = options.access();
    switch (proof.type) {
      case 'oidc':
        return await attestOidc(proof, access.trust.issuers, membershipQuery(access), options.oidc, presenter.jkt);
      case 'github-codespace':
        return await attestCodespace(proof, presenter, access.trust, membershipQuery(access), codespaces);
    }
  };
}

/** An ID token of a sign-in, for a session. @throws MeshpassError as verifySignIn() */
export type AttestSignIn = (issuer: string, token: string, binding: SignInBinding) => Promise<VerifiedSignIn>;

export function createAttestSignIn(options: Pick<AttestOptions, 'access' | 'oidc'>): AttestSignIn {
  return async (name, token, binding) => {
    const issuer = options.access().trust.issuers.find((one) => one.name === name);
    if (!issuer) throw unknownIssuer(name);
    return await verifySignIn(token, issuer, binding, options.oidc);
  };
}

/**
 * The proof in a token exchange request (RFC 8693 section 2.1, and `codespace_name`, which is ours).
 * @throws MeshpassError `proof_type_unsupported`, `proof_malformed`
 */
export function readProof(subjectTokenType: string, subjectToken: string, codespaceName: string | undefined): Proof {
  switch (subjectTokenType) {
    case PROOF_TYPES.oidc:
      return { type: 'oidc', token: subjectToken };
    case PROOF_TYPES.codespace:
      if (!codespaceName) throw new MeshpassError('proof_malformed', 'The parameter codespace_name is missing.');
      return { type: 'github-codespace', token: subjectToken, codespaceName };
    default:
      throw new MeshpassError(
        'proof_type_unsupported',
        `The broker accepts proofs of the types ${Object.values(PROOF_TYPES).join(' and ')}.`,
      );
  }
}
