/** Who an issuer of a company attests: by `sub`, and with a name for people to read. */
import type { TrustedIssuer } from '@meshpass/access';
import type { Attestation } from '@meshpass/identity';
import { sha256Hex } from '@meshpass/identity/hash';
import type { JWTPayload } from 'jose';

/** OpenID Connect Core section 2: at most 255 ASCII characters. */
export const MAX_SUBJECT = 255;

/** Of a `sid`, as it is kept and compared. */
const MAX_SID = 256;

/** The identity of a person who has no workspace that an issuer knows. */
export function person(
  claims: JWTPayload,
  issuer: TrustedIssuer,
  sub: string,
): Pick<Attestation, 'subject' | 'login' | 'teams' | 'workspace'> {
  const { subject, login } = nameOf(claims, issuer, sub);
  return { subject, login, teams: [], workspace: { kind: 'other', key: `other:${subject}`, name: login } };
}

/** The stable subject, and the name for people to read. */
export function nameOf(claims: JWTPayload, issuer: TrustedIssuer, sub: string) {
  return { subject: subjectOf(issuer.name, sub), login: loginOf(claims) ?? sub };
}

/** A subject of an issuer as attestations have it. */
export function subjectOf(issuer: string, sub: string): string {
  return `${issuer}:${withoutSlash(sub)}`;
}

/**
 * `sid` of an ID token or a logout token, to be kept and compared: a long one by its digest, so that no two are taken for one.
 * @returns undefined where it has none
 */
export function sidOf({ sid }: Readonly<Record<string, unknown>>): string | undefined {
  if (typeof sid !== 'string' || sid === '') return undefined;
  return sid.length <= MAX_SID ? sid : `sha256:${sha256Hex(sid)}`;
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

/** @returns whom a token is for; undefined where there is nobody, or somebody else besides */
export function onlyAudience(aud: unknown): string | undefined {
  const [only, ...more] = Array.isArray(aud) ? (aud as unknown[]) : [aud];
  return typeof only === 'string' && more.length === 0 ? only : undefined;
}
