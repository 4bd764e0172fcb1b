/** Derives a user's subject and display name from the claims that their company's identity provider has issued. */
import type { TrustedIssuer } from '@meshpass/access';
import { type Attestation, sha256Hex } from '@meshpass/identity';
import type { JWTPayload } from 'jose';

/** The maximum length of `sub`, in ASCII characters (OpenID Connect Core section 2). */
export const MAX_SUBJECT_LENGTH = 255;

/** The maximum length of a `sid` that is stored unchanged. Longer ones are hashed. */
const MAX_SID = 256;

/** Builds the identity of a user for a workspace that the issuer knows nothing about. */
export function person(
  claims: JWTPayload,
  issuer: TrustedIssuer,
  sub: string,
): Pick<Attestation, 'subject' | 'login' | 'teams' | 'workspace'> {
  const { subject, login } = nameOf(claims, issuer, sub);
  return { subject, login, teams: [], workspace: { kind: 'other', key: `other:${subject}`, name: login } };
}

/** Returns the user's stable subject and display name. */
export function nameOf(claims: JWTPayload, issuer: TrustedIssuer, sub: string) {
  return { subject: subjectOf(issuer.name, sub), login: loginOf(claims) ?? sub };
}

/** Returns the subject that identifies an issuer's user in attestations. */
export function subjectOf(issuer: string, sub: string): string {
  return `${issuer}:${withoutSlash(sub)}`;
}

/**
 * Reads the `sid` claim of an ID token or a logout token. Long values are hashed rather than truncated so that
 * different values remain different.
 * @returns the session ID, or undefined if the token does not have a `sid`
 */
export function sidOf({ sid }: Readonly<Record<string, unknown>>): string | undefined {
  if (typeof sid !== 'string' || sid === '') return undefined;
  return sid.length <= MAX_SID ? sid : `sha256:${sha256Hex(sid)}`;
}

/** Chooses a display name. It is never used for access decisions. */
function loginOf(claims: JWTPayload): string | undefined {
  const { preferred_username: username, email } = claims;
  const name = typeof username === 'string' && username !== '' ? username : email;
  if (typeof name !== 'string' || name.length > MAX_SUBJECT_LENGTH || !name.isWellFormed()) return undefined;
  return name.split('@')[0] || undefined;
}

/**
 * Percent-encodes the characters that Istio uses as separators. `%` is also encoded so that different subjects remain
 * different.
 */
function withoutSlash(sub: string): string {
  return sub.replace(/[^\w.~@:|+=-]/gu, (character) => encodeURIComponent(character));
}

/** Returns the audience of a token, or undefined if the token does not have exactly one. */
export function onlyAudience(aud: unknown): string | undefined {
  const [only, ...more] = Array.isArray(aud) ? (aud as unknown[]) : [aud];
  return typeof only === 'string' && more.length === 0 ? only : undefined;
}
