/** Derives the identity of a user at a company's issuer: a subject from `sub`, and a display name. */
import type { TrustedIssuer } from '@meshpass/access';
import type { Attestation } from '@meshpass/identity';
import { sha256Hex } from '@meshpass/identity/hash';
import type { JWTPayload } from 'jose';

/** Maximum length of `sub`, ASCII characters (OpenID Connect Core section 2). */
export const MAX_SUBJECT_LENGTH = 255;

/** Maximum length of a `sid` that is stored unchanged. */
const MAX_SID = 256;

/** Builds the identity of a user whose issuer does not know the workspace. */
export function person(
  claims: JWTPayload,
  issuer: TrustedIssuer,
  sub: string,
): Pick<Attestation, 'subject' | 'login' | 'teams' | 'workspace'> {
  const { subject, login } = nameOf(claims, issuer, sub);
  return { subject, login, teams: [], workspace: { kind: 'other', key: `other:${subject}`, name: login } };
}

/** Returns the stable subject and the display name of a user. */
export function nameOf(claims: JWTPayload, issuer: TrustedIssuer, sub: string) {
  return { subject: subjectOf(issuer.name, sub), login: loginOf(claims) ?? sub };
}

/** Returns an issuer's subject as it appears in attestations. */
export function subjectOf(issuer: string, sub: string): string {
  return `${issuer}:${withoutSlash(sub)}`;
}

/**
 * Reads `sid` from the claims of an ID token or a logout token. A long value is hashed instead of truncated, so that
 * different values stay different.
 * @returns undefined if the token does not have a `sid`
 */
export function sidOf({ sid }: Readonly<Record<string, unknown>>): string | undefined {
  if (typeof sid !== 'string' || sid === '') return undefined;
  return sid.length <= MAX_SID ? sid : `sha256:${sha256Hex(sid)}`;
}

/** Chooses a display name. It is never used in a decision. */
function loginOf(claims: JWTPayload): string | undefined {
  const { preferred_username: username, email } = claims;
  const name = typeof username === 'string' && username !== '' ? username : email;
  if (typeof name !== 'string' || name.length > MAX_SUBJECT_LENGTH || !name.isWellFormed()) return undefined;
  return name.split('@')[0] || undefined;
}

/** Percent-encodes the separators that Istio uses, and `%` itself, so that different subjects stay different. */
function withoutSlash(sub: string): string {
  return sub.replace(/[^\w.~@:|+=-]/gu, (character) => encodeURIComponent(character));
}

/** Returns the only audience of a token, or undefined if it does not have exactly one. */
export function onlyAudience(aud: unknown): string | undefined {
  const [only, ...more] = Array.isArray(aud) ? (aud as unknown[]) : [aud];
  return typeof only === 'string' && more.length === 0 ? only : undefined;
}
