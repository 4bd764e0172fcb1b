/** Identity of a person at a company's issuer: the `sub` and a display name. */
import type { TrustedIssuer } from '@meshpass/access';
import type { Attestation } from '@meshpass/identity';
import { sha256Hex } from '@meshpass/identity/hash';
import type { JWTPayload } from 'jose';

/** OpenID Connect Core section 2: at most 255 ASCII characters. */
export const MAX_SUBJECT_LENGTH = 255;

/** Maximum length of a `sid` that is stored as is. */
const MAX_SID = 256;

/** Builds the identity of a person whose workspace the issuer does not know. */
export function person(
  claims: JWTPayload,
  issuer: TrustedIssuer,
  sub: string,
): Pick<Attestation, 'subject' | 'login' | 'teams' | 'workspace'> {
  const { subject, login } = nameOf(claims, issuer, sub);
  return { subject, login, teams: [], workspace: { kind: 'other', key: `other:${subject}`, name: login } };
}

/** Returns the stable subject and the display name. */
export function nameOf(claims: JWTPayload, issuer: TrustedIssuer, sub: string) {
  return { subject: subjectOf(issuer.name, sub), login: loginOf(claims) ?? sub };
}

/** Builds an issuer's subject as it appears in attestations. */
export function subjectOf(issuer: string, sub: string): string {
  return `${issuer}:${withoutSlash(sub)}`;
}

/**
 * Reads `sid` from an ID token or a logout token. A long value is hashed, not truncated, so that different values stay
 * different.
 * @returns undefined if there is none
 */
export function sidOf({ sid }: Readonly<Record<string, unknown>>): string | undefined {
  if (typeof sid !== 'string' || sid === '') return undefined;
  return sid.length <= MAX_SID ? sid : `sha256:${sha256Hex(sid)}`;
}

/** Chooses a display name, which is never used for a decision. */
function loginOf(claims: JWTPayload): string | undefined {
  const { preferred_username: username, email } = claims;
  const name = typeof username === 'string' && username !== '' ? username : email;
  if (typeof name !== 'string' || name.length > MAX_SUBJECT_LENGTH || !name.isWellFormed()) return undefined;
  return name.split('@')[0] || undefined;
}

/** Percent-encodes the characters at which Istio splits, and `%` itself, so that different subjects stay different. */
function withoutSlash(sub: string): string {
  return sub.replace(/[^\w.~@:|+=-]/gu, (character) => encodeURIComponent(character));
}

/** @returns a token's only audience; undefined if it has none or several */
export function onlyAudience(aud: unknown): string | undefined {
  const [only, ...more] = Array.isArray(aud) ? (aud as unknown[]) : [aud];
  return typeof only === 'string' && more.length === 0 ? only : undefined;
}
