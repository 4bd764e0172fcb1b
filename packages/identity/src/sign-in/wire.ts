/**
 * Sign-ins of people at the identity provider of their company, as agent and broker speak of them: schemas, and the nonce that binds an
 * ID token to one session. docs/identity/sign-in.md is the prose of this file.
 */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { isPlainText } from '../text.ts';

const text = (longest: number) => z.string().max(longest).refine(isPlainText, 'has control characters');
const unixSeconds = z.number().int().nonnegative().max(253_402_300_799);
const name = z.string().regex(/^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/);
const httpsUrl = z.url().max(2_048).refine(isPlainText);

/** Sign-ins that one session can have. */
export const MAX_SIGN_INS = 8;
/** Longest ID token, characters. */
export const MAX_ID_TOKEN = 16_384;

/**
 * The nonce of the ID token that a session may bring (OpenID Connect Core section 3.1.2.1). It follows from the session's key, so that an
 * ID token that was made for another session is refused, and so that the broker has nothing to remember.
 * @param jkt RFC 7638 thumbprint of the session's DPoP key
 */
export function signInNonce(jkt: string): string {
  return createHash('sha256').update(`meshpass sign-in ${jkt}`).digest('base64url');
}

/** Answer of `GET /sign-in/NAME`: with which public client people sign in there. */
export const SignInOffer = z.object({
  name,
  /** Issuer URL, exactly as in `iss`. */
  issuer: httpsUrl,
  client_id: text(512).min(1),
  /** All of them, `openid` included. */
  scopes: z.array(text(128)).max(32),
  /** Whether the workspace keeps a refresh token, by which it confirms the sign-in. */
  refresh: z.boolean(),
});
export type SignInOffer = z.infer<typeof SignInOffer>;

/** Body of `POST /session/sign-in`. */
export const SignInRequest = z.strictObject({ issuer: name, id_token: z.string().min(1).max(MAX_ID_TOKEN) });
export type SignInRequest = z.infer<typeof SignInRequest>;

/** Body of `POST /session/sign-out`. */
export const SignOutRequest = z.strictObject({ issuer: name });
export type SignOutRequest = z.infer<typeof SignOutRequest>;

export const SignInState = z.object({
  /** Name of the issuer in the access file. */
  issuer: name,
  subject: text(1_024),
  login: text(256),
  since: unixSeconds,
  /** It ends then, unless it is confirmed by a newer ID token. */
  until: unixSeconds,
  /** A newer ID token is expected within so many seconds; absent: it ends with its ID token. */
  confirm_seconds: z.number().int().positive().max(86_400).optional(),
  auth_time: unixSeconds.optional(),
  amr: z.array(text(128)).max(64),
});
export type SignInState = z.infer<typeof SignInState>;

/** Answer of `GET` and `POST /session/sign-in`. */
export const SignInsResponse = z.object({
  sign_ins: z.array(SignInState).max(MAX_SIGN_INS),
  /** Grants that need nothing but a sign-in, with the name of its issuer. */
  lacking: z.array(z.object({ grant: name, issuer: name })).max(500),
  /** Names of all issuers at which people sign in; absent from older brokers. */
  issuers: z.array(name).max(100).optional(),
});
export type SignInsResponse = z.infer<typeof SignInsResponse>;
