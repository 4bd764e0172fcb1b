/** An OIDC ID token of a configured issuer becomes an attestation (OpenID Connect Core 3.1.3.7, RFC 8725). */

import type { TrustedIssuer } from '@meshpass/access';
import { type Attestation, MeshpassError, type Proof } from '@meshpass/identity';
import { sha256Hex } from '@meshpass/identity/hash';
import { errors, type JWTPayload, jwtVerify } from 'jose';
import type { Attested } from '../attested.ts';
import type { GithubApp } from '../github/app.ts';
import { confirmMemberships, type MembershipQuery } from '../github/memberships.ts';
import { printableClaims } from '../printable.ts';
import { readActionsJob } from './actions-job.ts';
import type { IssuerKeys } from './issuer-keys.ts';
import { malformed, readToken } from './read-token.ts';

export interface OidcOptions {
  readonly keys: IssuerKeys;
  /** Confirms teams of whoever set a job of GitHub Actions off; without it no team is ever confirmed. */
  readonly app?: GithubApp;
  /** Unix milliseconds. */
  readonly clock: () => number;
}

export type OidcProof = Extract<Proof, { type: 'oidc' }>;

/** Whatever the access file says, only these: nothing symmetric, and never `none` (RFC 8725 section 3.1). */
const ALGORITHMS = new Set([
  ...['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'],
  ...['ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519'],
]);
/** Of the issuer's clock and ours. */
const SKEW_SECONDS = 30;
/** The longest that a proof may still live: so long it must be remembered against replay. */
const MAX_LIFE_SECONDS = 86_400;
/** OpenID Connect Core section 2: at most 255 ASCII characters. */
const MAX_SUBJECT = 255;

/**
 * @param issuers of the access file in force: a token is only ever held against these
 * @param asked what the access file mentions
 * @throws MeshpassError `proof_*`, `issuer_unavailable`, `issuer_rate_limited`
 */
export async function attestOidc(
  proof: OidcProof,
  issuers: readonly TrustedIssuer[],
  asked: MembershipQuery,
  options: OidcOptions,
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
  refuseHeader(unverified.header, issuer);
  const claims: JWTPayload = printableClaims(await verify(proof.token, issuer, options));
  const { subject, exp } = checkClaims(claims, issuer, options.clock() / 1000);

  const identity =
    issuer.kind === 'actions' ? await actions(claims, issuer, asked, options) : person(claims, issuer, subject);
  const unique = typeof claims.jti === 'string' && claims.jti !== '' ? `jti ${claims.jti}` : unverified.signingInput;
  return {
    attestation: {
      attestor: 'oidc',
      issuer: issuer.name,
      ...identity,
      claims,
      proofHash: sha256Hex(proof.token),
      proofExpiresAt: exp,
    },
    replay: {
      key: sha256Hex(`${issuer.issuer} ${unique}`),
      expiresAt: new Date((exp + SKEW_SECONDS) * 1000).toISOString(),
    },
  };
}

/** Before the issuer is asked for a key. Keys and URLs of keys in the header are not looked at. */
function refuseHeader(header: Readonly<Record<string, unknown>>, issuer: TrustedIssuer): void {
  const { alg, typ } = header;
  if (typeof alg !== 'string' || !ALGORITHMS.has(alg) || !issuer.algorithms.includes(alg)) {
    throw new MeshpassError(
      'proof_algorithm',
      `This ID token is signed with an algorithm that is not accepted; ${issuer.name} may use ${issuer.algorithms.join(', ')}.`,
      { detail: { alg: typeof alg === 'string' ? alg.slice(0, 20) : typeof alg } },
    );
  }
  // Other kinds of JWT (access, logout, DPoP) say what they are (RFC 8725 section 3.11); ID tokens need not.
  if (typ !== undefined && (typeof typ !== 'string' || !/^(?:application\/)?jwt$/i.test(typ))) {
    throw malformed('unexpected `typ`; expected an ID token');
  }
}

async function verify(token: string, issuer: TrustedIssuer, options: OidcOptions): Promise<JWTPayload> {
  const keys = await options.keys.keysOf(issuer.issuer);
  try {
    const { payload } = await jwtVerify(token, keys, {
      issuer: issuer.issuer,
      audience: issuer.audience,
      algorithms: issuer.algorithms.filter((algorithm) => ALGORITHMS.has(algorithm)),
      clockTolerance: SKEW_SECONDS,
      currentDate: new Date(options.clock()),
      requiredClaims: ['sub', 'iat', 'exp'],
    });
    return payload;
  } catch (error) {
    throw refusalOf(error, issuer);
  }
}

function refusalOf(error: unknown, issuer: TrustedIssuer): MeshpassError {
  if (error instanceof MeshpassError) return error;
  const cause = { cause: error };
  if (error instanceof errors.JWTExpired) {
    return new MeshpassError('proof_expired', 'This ID token has expired; obtain a new one.', cause);
  }
  if (error instanceof errors.JWTClaimValidationFailed) {
    const { claim, reason } = error;
    if (claim === 'aud') {
      const message = `This ID token has another audience: request one from ${issuer.name} with the audience ${issuer.audience}.`;
      return new MeshpassError('proof_audience', message, cause);
    }
    if (claim === 'nbf' && reason === 'check_failed') return notYetValid(cause);
    return malformed(`the claim ${claim} is missing or invalid`);
  }
  if (error instanceof errors.JWSSignatureVerificationFailed) {
    return new MeshpassError('proof_signature', `This ID token is not signed by ${issuer.name}.`, cause);
  }
  if (error instanceof errors.JOSEAlgNotAllowed) {
    return new MeshpassError(
      'proof_algorithm',
      'This ID token is signed with an algorithm that is not accepted.',
      cause,
    );
  }
  const unusable = error instanceof errors.JWSInvalid || error instanceof errors.JWTInvalid;
  if (unusable || error instanceof errors.JOSENotSupported) return malformed('it cannot be read as a signed JWT');
  // No key, several, or one that is too weak to be used.
  return new MeshpassError(
    'proof_key_unknown',
    `${issuer.name} publishes no key that matches this ID token; obtain a new one.`,
    cause,
  );
}

/** What jose leaves to its caller. */
function checkClaims(claims: JWTPayload, issuer: TrustedIssuer, now: number): { subject: string; exp: number } {
  const { sub, exp = 0, iat = 0, aud, azp } = claims;
  if (typeof sub !== 'string' || sub === '' || sub.length > MAX_SUBJECT || !sub.isWellFormed()) {
    throw malformed('the claim sub is missing or invalid');
  }
  if (iat > now + SKEW_SECONDS) throw notYetValid({});
  if (exp > now + MAX_LIFE_SECONDS) {
    throw new MeshpassError(
      'proof_rejected',
      'The lifetime of this ID token is too long: its issuer must limit it to one day.',
    );
  }
  // OpenID Connect Core 3.1.3.7: with several audiences the party that it was issued to must be ours.
  if (Array.isArray(aud) && aud.length > 1 && azp !== undefined && azp !== issuer.audience) {
    throw new MeshpassError(
      'proof_audience',
      `This ID token was issued to another client (azp), not to ${issuer.audience}.`,
    );
  }
  return { subject: sub, exp };
}

function notYetValid(options: { cause?: unknown }): MeshpassError {
  const message = 'This ID token is not valid yet: check the clocks of its issuer and of the broker.';
  return new MeshpassError('proof_not_yet_valid', message, options);
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

function person(claims: JWTPayload, issuer: TrustedIssuer, sub: string): Identity {
  const subject = subjectOf(issuer.name, sub);
  const login = loginOf(claims) ?? sub;
  return { subject, login, teams: [], workspace: { kind: 'other', key: `other:${subject}`, name: login } };
}

/** A subject of an issuer as attestations have it. */
export function subjectOf(issuer: string, sub: string): string {
  return `${issuer}:${withoutSlash(sub)}`;
}

/** For people to read: never decided on. */
function loginOf(claims: JWTPayload): string | undefined {
  const { preferred_username: username, email } = claims;
  const name = typeof username === 'string' && username !== '' ? username : email;
  if (typeof name !== 'string' || name.length > MAX_SUBJECT || !name.isWellFormed()) return undefined;
  return name.split('@')[0] || undefined;
}

/** Percent-encodes what Istio would split at, and `%` itself, so that no two subjects become one. */
function withoutSlash(sub: string): string {
  return sub.replace(/[^\w.~@:|+=-]/gu, (character) => encodeURIComponent(character));
}
