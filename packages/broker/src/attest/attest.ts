/** Passes each proof to the attestor for its type, which verifies the proof and returns an attestation. */

import type { Access } from '@meshpass/access';
import { MeshpassError, PROOF_TYPES, type Proof } from '@meshpass/identity';
import {
  type AttestationResult,
  attestOidc,
  type OidcOptions,
  type SignInBinding,
  unknownIssuerError,
  type VerifiedSignIn,
  verifySignIn,
} from '../issuers/index.ts';
import type { GithubApp } from './github/app.ts';
import { attestCodespace, type CodespaceOptions, createCodespaceTokenLimiter } from './github/codespace.ts';
import { confirmMemberships, membershipQuery } from './github/memberships.ts';
import type { Presenter } from './presence/presence.ts';

/**
 * Verifies a proof and returns an attestation of the workspace that presented it.
 * @throws MeshpassError `proof_*`, `workspace_*`, `presence_*`, `too_many_attempts`, `issuer_unavailable`,
 *   `issuer_rate_limited`, `overloaded`
 */
export type Attestor = (proof: Proof, presenter: Presenter) => Promise<AttestationResult>;

export interface AttestorOptions {
  /** Returns the current access file. This is called for every proof. */
  readonly access: () => Access;
  readonly codespaces: CodespaceOptions;
  readonly oidc: Pick<OidcOptions, 'keys' | 'clock'> & {
    /** The GitHub App used to confirm the teams and roles of GitHub users. Without it, they are never confirmed. */
    readonly app?: GithubApp;
  };
}

/** Creates an attestor that accepts every supported type of proof. */
export function createAttestor(options: AttestorOptions): Attestor {
  const codespaces = { ...options.codespaces, guesses: createCodespaceTokenLimiter(options.codespaces.api.clock) };
  const { app, ...oidc } = options.oidc;
  return async (proof, presenter) => {
    const access = options.access();
    const query = membershipQuery(access);
    const memberships: OidcOptions['memberships'] = (user) => confirmMemberships(user, query, app);
    switch (proof.type) {
      case 'oidc':
        return await attestOidc(proof, access.trust.issuers, { ...oidc, memberships }, presenter.jkt);
      case 'github-codespace':
        return await attestCodespace(proof, presenter, access.trust, query, codespaces);
    }
  };
}

/**
 * Verifies the ID token of a sign-in that belongs to a session.
 * @throws MeshpassError the same errors as verifySignIn()
 */
export type SignInVerifier = (issuer: string, token: string, binding: SignInBinding) => Promise<VerifiedSignIn>;

/** Creates a function that verifies sign-ins at the issuers in the access file. */
export function createSignInVerifier(options: Pick<AttestorOptions, 'access' | 'oidc'>): SignInVerifier {
  return async (name, token, binding) => {
    const issuer = options.access().trust.issuers.find((one) => one.name === name);
    if (!issuer) throw unknownIssuerError(name);
    return await verifySignIn(token, issuer, binding, options.oidc);
  };
}

/**
 * Parses the proof in a token exchange request (RFC 8693 section 2.1). The `codespace_name` parameter is our own
 * extension.
 * @throws MeshpassError `proof_type_unsupported`, `proof_malformed`
 */
export function parseSubjectToken(
  subjectTokenType: string,
  subjectToken: string,
  codespaceName: string | undefined,
): Proof {
  switch (subjectTokenType) {
    case PROOF_TYPES.oidc:
      return { type: 'oidc', token: subjectToken };
    case PROOF_TYPES.codespace:
      if (!codespaceName) throw new MeshpassError('proof_malformed', 'The codespace_name parameter is missing.');
      return { type: 'github-codespace', token: subjectToken, codespaceName };
    default:
      throw new MeshpassError(
        'proof_type_unsupported',
        `Unsupported proof type. The broker accepts ${Object.values(PROOF_TYPES).join(' and ')}.`,
      );
  }
}
