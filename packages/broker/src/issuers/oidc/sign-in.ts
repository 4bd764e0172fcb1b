/**
 * Verifies the ID token that a user gets by signing in from a workspace (RFC 8628). The client in the access file must
 * be its only audience, and it must be recent. It is accepted only once. If it contains a nonce, the nonce must match
 * the session's key. Most providers do not include a nonce in ID tokens from the device flow, because RFC 8628 does not
 * define such a parameter. The access file can require a nonce.
 */
import type { SignInClient, TrustedIssuer } from '@meshpass/access';
import { MeshpassError, type SignIn } from '@meshpass/identity';
import { signInNonce } from '@meshpass/identity/sign-in';
import type { JWTPayload } from 'jose';
import { equalInConstantTime } from '../../base/index.ts';
import type { AttestationResult } from '../attested.ts';
import { nameOf, onlyAudience, sidOf } from './person.ts';
import { decodeIdToken, type UnverifiedToken } from './read-token.ts';
import { type VerifyOptions, verifyIdToken } from './verify-id-token.ts';

export interface SignInBinding {
  /** The thumbprint of the session's key. */
  readonly jkt: string;
  /** The existing sign-in that this token confirms. Absent for a new sign-in. */
  readonly previous?: SignIn | undefined;
}

export interface VerifiedSignIn {
  readonly signIn: SignIn;
  readonly replay: NonNullable<AttestationResult['replay']>;
  /** When the ID token expires, in Unix seconds. */
  readonly exp: number;
}

const MAX_METHODS = 32;
const MAX_METHOD = 64;

/** Whether an unverified token claims to be the ID token of a sign-in. */
export function isSignInToken({ audience }: UnverifiedToken, { signIn, audience: ofProofs }: TrustedIssuer): boolean {
  return signIn !== undefined && signIn.client !== ofProofs && onlyAudience(audience) === signIn.client;
}

/**
 * Verifies the ID token of a new sign-in, or one that confirms an existing sign-in.
 * @throws MeshpassError `sign_in_unknown` if the issuer does not offer sign-in, `sign_in_foreign`, `sign_in_stale`,
 *   `sign_in_rejected`, `proof_*`, `issuer_unavailable`
 */
export async function verifySignIn(
  token: string,
  issuer: TrustedIssuer,
  { jkt, previous }: SignInBinding,
  options: VerifyOptions,
): Promise<VerifiedSignIn> {
  if (!issuer.signIn) throw unknownIssuerError(issuer.name);
  const { client, refresh, confirm } = issuer.signIn;
  const unverified = decodeIdToken(token);
  if (unverified.issuer !== issuer.issuer)
    throw new MeshpassError('proof_issuer_unknown', `This ID token was not issued by ${issuer.name}.`);
  const { claims, subject: sub, exp, replay } = await verifyIdToken(token, issuer, client, options);
  if (onlyAudience(claims.aud) !== client || (claims.azp !== undefined && claims.azp !== client))
    throw new MeshpassError('proof_audience', `This ID token was not issued to ${client} alone.`);
  const now = Math.floor(options.clock() / 1000);
  const { iat = 0 } = claims;
  const given = correctedIssuedAt(iat, issuer.signIn);
  if (!isFresh(given, now))
    throw new MeshpassError('sign_in_stale', 'This ID token is too old to sign in with. Get a new one.', {
      detail: { iat, now },
    });
  const name = nameOf(claims, issuer, sub);
  refuseForeign(claims, issuer, jkt, previous?.subject === name.subject);
  if (previous) refuseOther(previous, name.subject, iat);
  const authTime = authTimeOf(claims, previous, now);
  const sid = sidOf(claims);
  const confirmedUntil = confirmationStart(given, now) + confirm - MAX_CLOCK_SKEW_SECONDS;
  return {
    replay,
    exp,
    signIn: {
      issuer: issuer.name,
      ...name,
      claims,
      amr: methodsOf(claims),
      ...(authTime !== undefined && { authTime }),
      ...(sid !== undefined && { sid }),
      since: previous?.since ?? now,
      confirmedAt: iat,
      until: refresh ? Math.min(confirmedUntil, exp) : exp,
      ...(refresh && { confirm }),
    },
  };
}

/** Builds the error for an issuer that does not offer sign-in. */
export function unknownIssuerError(name: string): MeshpassError {
  return new MeshpassError(
    'sign_in_unknown',
    `Sign-in at "${name}" is not available, because the access file does not define signIn for it.`,
  );
}

function refuseForeign({ nonce }: JWTPayload, issuer: TrustedIssuer, jkt: string, confirms: boolean): void {
  if (typeof nonce === 'string' && equalInConstantTime(nonce, signInNonce(jkt))) return;
  if (nonce !== undefined)
    throw new MeshpassError('sign_in_foreign', 'This ID token was issued for a different session. Sign in again.');
  if (confirms || issuer.signIn?.nonce === 'optional') return;
  throw new MeshpassError(
    'sign_in_foreign',
    `The ID token from ${issuer.name} is missing a nonce, which the access file requires (signIn.nonce).`,
  );
}

function refuseOther(previous: SignIn, subject: string, iat: number): void {
  if (previous.subject !== subject)
    throw new MeshpassError(
      'sign_in_rejected',
      `This session is signed in at ${previous.issuer} as a different user. Sign out first (meshpass sign-out).`,
    );
  if (iat < previous.confirmedAt)
    throw new MeshpassError('sign_in_stale', 'This ID token is older than the one that last confirmed the sign-in.');
}

/**
 * Returns the time at which the user authenticated. A refreshed ID token contains the original time (OpenID Connect
 * Core section 12.2).
 */
function authTimeOf(claims: JWTPayload, previous: SignIn | undefined, now: number): number | undefined {
  const { auth_time: time, nonce } = claims;
  const said = typeof time === 'number' && Number.isSafeInteger(time) && time >= 0 ? Math.min(time, now) : undefined;
  if (!previous || nonce !== undefined) return said;
  return previous.authTime === undefined || said === undefined ? previous.authTime : Math.min(previous.authTime, said);
}

/** Reads the user's authentication methods from the `amr` claim (RFC 8176). */
function methodsOf({ amr }: JWTPayload): readonly string[] {
  if (!Array.isArray(amr)) return [];
  const texts = amr.filter((one): one is string => typeof one === 'string' && one.length <= MAX_METHOD);
  return texts.slice(0, MAX_METHODS);
}

// How old the ID token of a sign-in may be, for both workspaces and operators. All times are in Unix seconds.

/**
 * The maximum age of an ID token, in seconds. Clients are expected to present a token immediately after it is issued.
 */
const FRESH_SECONDS = 60;
/** The tolerated difference between the issuer's clock and ours when a sign-in is confirmed, in seconds. */
const MAX_CLOCK_SKEW_SECONDS = 15;

/** Returns the time at which an ID token was issued, correcting for issuers that backdate `iat`. */
export function correctedIssuedAt(iat: number, { backdated = 0 }: SignInClient): number {
  return iat + backdated;
}

/** Whether an ID token is recent enough to be used for a sign-in. */
export function isFresh(given: number, now: number): boolean {
  return given >= now - FRESH_SECONDS;
}

/**
 * Returns the time from which an ID token confirms a sign-in. This is when the token was issued, even if it is
 * presented later.
 */
export function confirmationStart(given: number, now: number): number {
  return Math.min(now, given + MAX_CLOCK_SKEW_SECONDS);
}
