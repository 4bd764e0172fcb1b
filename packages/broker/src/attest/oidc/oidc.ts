/** An OIDC ID token of a configured issuer becomes an attestation (OpenID Connect Core 3.1.3.7, RFC 8725). */

import type { TrustedIssuer } from '@meshpass/access';
import { type Attestation, MeshpassError, type Proof } from '@meshpass/identity';
import { sha256Hex } from '@meshpass/identity/hash';
import type { JWTPayload } from 'jose';
import type { Attested } from '../attested.ts';
import type { GithubApp } from '../github/app.ts';
import { confirmMemberships, type MembershipQuery } from '../github/memberships.ts';
import { readActionsJob } from './actions-job.ts';
import { person } from './person.ts';
import { readToken } from './read-token.ts';
import { isOfSignIn, verifySignIn } from './sign-in.ts';
import { type VerifyOptions, verifyIdToken } from './verify-id-token.ts';

export interface OidcOptions extends VerifyOptions {
  /** Confirms teams of whoever set a job of GitHub Actions off; without it no team is ever confirmed. */
  readonly app?: GithubApp;
}

export type OidcProof = Extract<Proof, { type: 'oidc' }>;

/**
 * @param issuers of the access file in force: a token is only ever held against these
 * @param asked what the access file mentions
 * @param jkt thumbprint of the key that the session will be bound to; without it no sign-in is a proof
 * @throws MeshpassError `proof_*`, `issuer_unavailable`, `issuer_rate_limited`
 */
export async function attestOidc(
  proof: OidcProof,
  issuers: readonly TrustedIssuer[],
  asked: MembershipQuery,
  options: OidcOptions,
  jkt = '',
): Promise<Attested> {
  const unverified = readToken(proof.token);
  // Equality of strings: an issuer that differs by a slash, a case or a port is another issuer.
  const issuer = issuers.find((trusted) => trusted.issuer === unverified.issuer);
  if (!issuer) {
    throw new MeshpassError(
      'proof_issuer_unknown',
      'The access file does not trust the issuer of this ID token (trust.issuers, compared exactly).',
      { detail: { issuer: unverified.issuer.slice(0, 300) } },
    );
  }
  if (isOfSignIn(unverified, issuer)) return await attestBySignIn(proof, issuer, jkt, options);
  const { claims, subject, exp, replay } = await verifyIdToken(proof.token, issuer, issuer.audience, options);
  const identity =
    issuer.kind === 'actions' ? await actions(claims, issuer, asked, options) : person(claims, issuer, subject);
  const proven = { claims, proofHash: sha256Hex(proof.token), proofExpiresAt: exp };
  return { attestation: { attestor: 'oidc', issuer: issuer.name, ...identity, ...proven }, replay };
}

/** A workspace that has no other proof than the sign-in of its developer. */
async function attestBySignIn(
  proof: OidcProof,
  issuer: TrustedIssuer,
  jkt: string,
  options: OidcOptions,
): Promise<Attested> {
  const { signIn, replay, exp } = await verifySignIn(proof.token, issuer, { jkt }, options);
  const { claims } = signIn;
  const identity = person(claims, issuer, String(claims.sub));
  const proven = { claims, proofHash: sha256Hex(proof.token), proofExpiresAt: exp };
  const rests = { signIns: [signIn], provenBySignIn: true } as const;
  return { attestation: { attestor: 'oidc', issuer: issuer.name, ...identity, ...proven, ...rests }, replay };
}

type Identity = Pick<Attestation, 'subject' | 'login' | 'githubUser' | 'teams' | 'organizationRoles' | 'workspace'>;

async function actions(
  claims: JWTPayload,
  issuer: TrustedIssuer,
  asked: MembershipQuery,
  { app }: OidcOptions,
): Promise<Identity> {
  const job = readActionsJob(claims);
  return {
    subject: `${issuer.name}:${job.subject}`,
    login: job.actor.login,
    githubUser: job.actor,
    ...(await confirmMemberships(job.actor, asked, app)),
    workspace: job.workspace,
  };
}
