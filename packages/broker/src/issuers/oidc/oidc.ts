/** Attests workspaces by their ID tokens from configured OIDC issuers (OpenID Connect Core 3.1.3.7, RFC 8725). */
import type { TrustedIssuer } from '@meshpass/access';
import { type Attestation, MeshpassError, type Proof, sha256Hex } from '@meshpass/identity';
import type { JWTPayload } from 'jose';
import { z } from 'zod';
import type { AttestationResult } from '../attested.ts';
import { person } from './person.ts';
import { decodeIdToken, malformedError } from './read-token.ts';
import { isSignInToken, verifySignIn } from './sign-in.ts';
import { type VerifyOptions, verifyIdToken } from './verify-id-token.ts';

export interface OidcOptions extends VerifyOptions {
  /**
   * Looks up the teams and roles of the user who triggered a GitHub Actions job. If absent, the user is treated as
   * having neither teams nor roles.
   * @throws MeshpassError `issuer_unavailable`, `issuer_rate_limited`
   */
  readonly memberships?: (
    user: NonNullable<Attestation['githubUser']>,
  ) => Promise<Pick<Attestation, 'teams' | 'notInTeams' | 'organizationRoles'>>;
}

export type OidcProof = Extract<Proof, { type: 'oidc' }>;

/**
 * Attests a workspace by its ID token.
 * @param issuers the issuers in the current access file. Tokens from any other issuer are rejected.
 * @param jkt the thumbprint of the key that the session will be bound to. If absent, a sign-in is not accepted as a
 *   proof.
 * @throws MeshpassError `proof_*`, `issuer_unavailable`, `issuer_rate_limited`
 */
export async function attestOidc(
  proof: OidcProof,
  issuers: readonly TrustedIssuer[],
  options: OidcOptions,
  jkt = '',
): Promise<AttestationResult> {
  const unverified = decodeIdToken(proof.token);
  // Compare the strings exactly. A URL that differs only in a slash, in case or in its port identifies a different
  // issuer.
  const issuer = issuers.find((trusted) => trusted.issuer === unverified.issuer);
  if (!issuer) {
    throw new MeshpassError(
      'proof_issuer_unknown',
      "The access file does not trust this ID token's issuer (trust.issuers, exact match).",
      { detail: { issuer: unverified.issuer.slice(0, 300) } },
    );
  }
  const viaSignIn = isSignInToken(unverified, issuer);
  const verified = viaSignIn
    ? await bySignIn(proof, issuer, jkt, options)
    : await verifyIdToken(proof.token, issuer, issuer.audience, options);
  const { claims, subject, exp, replay } = verified;
  const signIn = 'signIn' in verified ? verified.signIn : {};
  const isJob = issuer.kind === 'actions' && !viaSignIn;
  const identity = isJob ? await actions(claims, issuer, options) : person(claims, issuer, subject);
  const proven = { claims, proofHash: sha256Hex(proof.token), proofExpiresAt: exp };
  return { attestation: { attestor: 'oidc', issuer: issuer.name, ...identity, ...proven, ...signIn }, replay };
}

/** Verifies a developer's sign-in for a workspace that has no other proof. */
async function bySignIn(proof: OidcProof, issuer: TrustedIssuer, jkt: string, options: OidcOptions) {
  const { signIn, replay, exp } = await verifySignIn(proof.token, issuer, { jkt }, options);
  const { claims } = signIn;
  const alone = { signIns: [signIn], provenBySignIn: true as const };
  return { claims, subject: String(claims.sub), exp, replay, signIn: alone };
}

type Identity = Pick<Attestation, 'subject' | 'login' | 'githubUser' | 'teams' | 'organizationRoles' | 'workspace'>;

const numeric = z
  .string()
  .regex(/^[1-9][0-9]{0,15}$/)
  .transform(Number)
  .refine(Number.isSafeInteger);
const text = z.string().min(1).max(500);

/**
 * The claims of a GitHub Actions token. All of them are strings
 * (https://docs.github.com/actions/reference/security/oidc).
 */
const Claims = z.object({
  repository: text,
  repository_id: numeric,
  repository_owner_id: numeric,
  actor: text,
  actor_id: numeric,
  run_id: numeric,
  run_attempt: numeric,
  ref: text.optional(),
  workflow_ref: text.optional(),
});

/** Matches the workflow that GitHub runs to create Codespaces prebuilds. */
const PREBUILD = /^[^/]+\/[^/]+\/dynamic\/codespaces\//;

/**
 * Builds the identity of a GitHub Actions job from its verified claims. It uses the IDs in the claims instead of `sub`,
 * because repository settings can change the format of `sub`, which already has two forms (`repo:OWNER/REPO:...` and
 * `repo:OWNER@ID/REPO@ID:...`). All workflows of a repository share one subject, no matter who triggered them.
 * @throws MeshpassError `proof_malformed`, `proof_prebuild`
 */
async function actions(verified: JWTPayload, issuer: TrustedIssuer, { memberships }: OidcOptions): Promise<Identity> {
  const read = Claims.safeParse(verified);
  if (!read.success) {
    const members = read.error.issues.map(({ path }) => path.join('.')).join(', ');
    throw malformedError(`unexpected ${members} for a GitHub Actions token`);
  }
  const claims = read.data;
  if (claims.workflow_ref && PREBUILD.test(claims.workflow_ref)) {
    throw new MeshpassError(
      'proof_prebuild',
      'This is a Codespaces prebuild. Its disk is cloned for many developers, so it cannot get an identity.',
    );
  }
  const actor = { id: claims.actor_id, login: claims.actor };
  return {
    subject: `${issuer.name}:repo:${claims.repository_id}`,
    login: actor.login,
    githubUser: actor,
    ...((await memberships?.(actor)) ?? { teams: [] }),
    workspace: {
      kind: 'actions',
      key: `actions:${claims.repository_id}:${claims.run_id}:${claims.run_attempt}`,
      name: `${claims.repository}#${claims.run_id}`,
      repository: { id: claims.repository_id, fullName: claims.repository, ownerId: claims.repository_owner_id },
      ...(claims.ref ? { ref: claims.ref } : {}),
    },
  };
}
