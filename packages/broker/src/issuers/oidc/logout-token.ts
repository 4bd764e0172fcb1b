/** Verifies logout tokens, which issuers send when a user signs out (OpenID Connect Back-Channel Logout 1.0). */
import { type Access, operatorClientOf, type TrustedIssuer } from '@meshpass/access';
import { MeshpassError, sha256Hex } from '@meshpass/identity';
import type { JWTPayload } from 'jose';
import type { AttestationResult } from '../attested.ts';
import { nameOf, sidOf } from './person.ts';
import { decodeIdToken } from './read-token.ts';
import { unknownIssuerError } from './sign-in.ts';
import { SKEW_SECONDS, type VerifyOptions, verifyJwt } from './verify-id-token.ts';

export interface VerifiedLogout {
  /** The issuer's name in the access file. */
  readonly issuer: string;
  /** The subject (as in Attestation) whose sessions end. If absent, only the session identified by `sid` ends. */
  readonly subject?: string;
  /** The ID of the session at the issuer. If absent, all of the subject's sessions end. */
  readonly sid?: string;
  /** When the logout token was issued, in Unix seconds. */
  readonly at: number;
  readonly replay: NonNullable<AttestationResult['replay']>;
}

/**
 * Verifies a logout token and returns the user or session that it applies to.
 * @throws MeshpassError `sign_in_unknown`, `logout_token_invalid`, `issuer_unavailable`, `proof_too_large`,
 *   `proof_malformed`
 */
export type LogoutVerifier = (issuer: string, token: string) => Promise<VerifiedLogout>;

const LOGOUT_EVENT = 'http://schemas.openid.net/event/backchannel-logout';
/** The maximum age of a logout token, in seconds. Issuers send logout tokens as soon as they have created them. */
const MAX_AGE_SECONDS = 120;
const MAX_ID = 512;

/** Creates a function that verifies logout tokens from the issuers in the access file. */
export function createLogoutVerifier(options: VerifyOptions & { readonly access: () => Access }): LogoutVerifier {
  return async (name, token) => {
    const issuer = options.access().trust.issuers.find((one) => one.name === name);
    if (!issuer?.signIn) throw unknownIssuerError(name);
    const { header, issuer: iss } = decodeIdToken(token);
    const { alg, typ } = header;
    if (iss !== issuer.issuer) throw invalid('it was issued by a different issuer');
    if (typeof alg !== 'string' || !issuer.algorithms.includes(alg)) throw invalid('its algorithm is not allowed');
    // Section 2.4 recommends the type `logout+jwt`, but some providers use `JWT` or omit the type.
    if (typ !== undefined && (typeof typ !== 'string' || !/^(?:application\/)?(?:logout\+)?jwt$/i.test(typ)))
      throw invalid('unexpected `typ`');
    return read(await verified(token, issuer, options), issuer, options.clock() / 1000);
  };
}

async function verified(token: string, issuer: TrustedIssuer, options: VerifyOptions): Promise<JWTPayload> {
  // The token may be addressed to either of the two clients. `sub` and `sid` are assigned by the issuer and therefore
  // mean the same for both (section 2.4).
  const audience = [issuer.signIn!.client, operatorClientOf(issuer.signIn!)];
  try {
    return await verifyJwt(token, issuer, { audience, requiredClaims: ['iat', 'jti', 'events'] }, options);
  } catch (cause) {
    if (cause instanceof MeshpassError) throw cause;
    throw invalid('its signature, issuer, audience or time is invalid', cause);
  }
}

/** Validates the claims of a logout token (section 2.6). */
function read(claims: JWTPayload, issuer: TrustedIssuer, now: number): VerifiedLogout {
  const { sub, sid, iat = 0, jti, events, nonce } = claims;
  if (nonce !== undefined) throw invalid('it contains a nonce');
  const event = isObject(events) && Object.hasOwn(events, LOGOUT_EVENT) ? events[LOGOUT_EVENT] : undefined;
  if (!isObject(event)) throw invalid('it does not contain a logout event');
  if (iat < now - MAX_AGE_SECONDS || iat > now + SKEW_SECONDS) throw invalid('it is too old or from the future');
  if (!isId(jti)) throw invalid('its jti claim is missing or invalid');
  const session = sidOf(claims);
  if ((sub !== undefined && !isId(sub)) || (sid !== undefined && session === undefined))
    throw invalid('its sub or sid claim is invalid');
  if (sub === undefined && session === undefined) throw invalid('it has neither a sub nor a sid claim');
  return {
    issuer: issuer.name,
    ...(sub !== undefined && { subject: nameOf({}, issuer, sub).subject }),
    ...(session !== undefined && { sid: session }),
    at: iat,
    replay: {
      key: sha256Hex(`logout ${issuer.issuer} ${jti}`),
      expiresAt: new Date((iat + MAX_AGE_SECONDS + SKEW_SECONDS) * 1000).toISOString(),
    },
  };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isId(value: unknown): value is string {
  return typeof value === 'string' && value !== '' && value.length <= MAX_ID;
}

function invalid(why: string, cause?: unknown): MeshpassError {
  return new MeshpassError('logout_token_invalid', `This logout token was rejected: ${why}.`, { cause });
}
