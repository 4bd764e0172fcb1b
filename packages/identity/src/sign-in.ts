/**
 * Wire schemas for sign-ins at a company's identity provider, and the nonce that binds an ID token to a single session.
 * See docs/identity/sign-in.md.
 */
import { z } from 'zod';
import { sha256Base64url } from './hash.ts';
import { text, unixSeconds } from './schema/fields.ts';
import { isPlainText } from './text.ts';

const name = z.string().regex(/^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/);
const httpsUrl = z.url().max(2_048).refine(isPlainText);

/** The maximum number of sign-ins in a session. */
export const MAX_SIGN_INS = 8;
/** The maximum length of an ID token in characters. */
export const MAX_ID_TOKEN_LENGTH = 16_384;

/**
 * Derives the nonce for an ID token (OpenID Connect Core section 3.1.2.1) from the session's key. This allows the
 * broker to reject ID tokens for other sessions without storing any state.
 * @param jkt the RFC 7638 thumbprint of the session's DPoP key
 */
export function signInNonce(jkt: string): string {
  return sha256Base64url(`meshpass sign-in ${jkt}`);
}

/** The response to `GET /sign-in/NAME`: the public client that workspaces use to sign in at this issuer. */
export const SignInOffer = z.object({
  name,
  /** The issuer URL, exactly as in `iss`. */
  issuer: httpsUrl,
  client_id: text(512).min(1),
  /** All scopes to request, including `openid`. */
  scopes: z.array(text(128)).max(32),
  /** Whether the workspace keeps a refresh token in order to confirm the sign-in. */
  refresh: z.boolean(),
});
export type SignInOffer = z.infer<typeof SignInOffer>;

/** The request body of `POST /session/sign-in`. */
export const SignInRequest = z.strictObject({ issuer: name, id_token: z.string().min(1).max(MAX_ID_TOKEN_LENGTH) });
export type SignInRequest = z.infer<typeof SignInRequest>;

/** The request body of `POST /session/sign-out`. */
export const SignOutRequest = z.strictObject({ issuer: name });

export const SignInState = z.object({
  /** The issuer name in the access file. */
  issuer: name,
  subject: text(1_024),
  login: text(256),
  since: unixSeconds,
  /** When the sign-in expires unless a newer ID token confirms it, in Unix seconds. */
  until: unixSeconds,
  /** How soon a newer ID token is required, in seconds. If absent, the sign-in ends when its ID token expires. */
  confirm_seconds: z.number().int().positive().max(86_400).optional(),
  auth_time: unixSeconds.optional(),
  amr: z.array(text(128)).max(64),
});
export type SignInState = z.infer<typeof SignInState>;

/** The response to `GET /session/sign-in` and `POST /session/sign-in`. */
export const SignInsResponse = z.object({
  sign_ins: z.array(SignInState).max(MAX_SIGN_INS),
  /** Grants that only lack a sign-in at the given issuer. */
  lacking: z.array(z.object({ grant: name, issuer: name })).max(500),
  /** All issuers that people can sign in at. */
  issuers: z.array(name).max(100).optional(),
});
export type SignInsResponse = z.infer<typeof SignInsResponse>;
