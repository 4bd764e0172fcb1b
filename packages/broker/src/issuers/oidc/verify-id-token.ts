/** Verifies that an ID token is valid for a given audience (OpenID Connect Core 3.1.3.7, RFC 8725). */
import type { TrustedIssuer } from '@meshpass/access';
import { MeshpassError, sha256Hex } from '@meshpass/identity';
import { errors, type JWTPayload, type JWTVerifyOptions, jwtVerify } from 'jose';
import { printableClaims } from '../printable.ts';
import type { IssuerKeys } from './issuer-keys.ts';
import { MAX_SUBJECT_LENGTH } from './person.ts';
import { decodeIdToken, malformedError } from './read-token.ts';

export interface VerifyOptions {
  readonly keys: IssuerKeys;
  /** Returns the current time in Unix milliseconds. */
  readonly clock: () => number;
}

/**
 * The only signing algorithms that are accepted, even if the access file lists others. Symmetric algorithms and `none`
 * are never accepted (RFC 8725 section 3.1).
 */
const ALGORITHMS = new Set([
  ...['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'],
  ...['ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519'],
]);
/** The tolerated difference between the issuer's clock and ours, in seconds. */
export const SKEW_SECONDS = 30;
/**
 * The maximum remaining lifetime of a proof. The broker has to remember each proof until it expires to prevent replays.
 */
const MAX_LIFE_SECONDS = 86_400;

/**
 * Verifies an ID token. Its `iss` claim must match the issuer (OpenID Connect Core 3.1.3.7, RFC 8725).
 * @param audience the audience that the token must have
 * @returns the token's claims, subject, expiry (in Unix seconds) and replay key. The caller is responsible for any
 *   further checks that its use of the token requires.
 * @throws MeshpassError `proof_*`, `issuer_unavailable`
 */
export async function verifyIdToken(token: string, issuer: TrustedIssuer, audience: string, options: VerifyOptions) {
  const unverified = decodeIdToken(token);
  refuseHeader(unverified.header, issuer);
  const verified = await verifyJwt(token, issuer, { audience, requiredClaims: ['sub', 'iat', 'exp'] }, options).catch(
    (thrown: unknown) => {
      throw refusalOf(thrown, issuer, audience);
    },
  );
  const claims: JWTPayload = printableClaims(verified);
  const { subject, exp } = checkClaims(claims, audience, options.clock() / 1000);
  const unique = typeof claims.jti === 'string' && claims.jti !== '' ? `jti ${claims.jti}` : unverified.signingInput;
  const expiresAt = new Date((exp + SKEW_SECONDS) * 1000).toISOString();
  return { claims, subject, exp, replay: { key: sha256Hex(`${issuer.issuer} ${unique}`), expiresAt } };
}

/** Checks the header before the issuer's keys are fetched. Keys and key URLs in the header are ignored. */
function refuseHeader(header: Readonly<Record<string, unknown>>, issuer: TrustedIssuer): void {
  const { alg, typ } = header;
  if (typeof alg !== 'string' || !ALGORITHMS.has(alg) || !issuer.algorithms.includes(alg)) {
    throw new MeshpassError(
      'proof_algorithm',
      `This ID token's signing algorithm is not allowed. ${issuer.name} may use ${issuer.algorithms.join(', ')}.`,
      { detail: { alg: typeof alg === 'string' ? alg.slice(0, 20) : typeof alg } },
    );
  }
  // Other kinds of JWTs (access tokens, logout tokens, DPoP proofs) have an explicit type (RFC 8725 section 3.11). ID
  // tokens do not need one.
  if (typ !== undefined && (typeof typ !== 'string' || !/^(?:application\/)?jwt$/i.test(typ))) {
    throw malformedError('unexpected `typ`; expected an ID token');
  }
}

/**
 * Verifies a token's signature with the issuer's keys, and checks its issuer, audience and times.
 * @param requirements the accepted audiences, and the claims that the token must have
 * @throws MeshpassError `issuer_unavailable`; any error from jose
 */
export async function verifyJwt(
  token: string,
  issuer: TrustedIssuer,
  requirements: Pick<JWTVerifyOptions, 'audience' | 'requiredClaims'>,
  { keys, clock }: VerifyOptions,
): Promise<JWTPayload> {
  const { payload } = await jwtVerify(token, await keys.keysOf(issuer.issuer), {
    issuer: issuer.issuer,
    algorithms: issuer.algorithms.filter((algorithm) => ALGORITHMS.has(algorithm)),
    clockTolerance: SKEW_SECONDS,
    currentDate: new Date(clock()),
    ...requirements,
  });
  return payload;
}

function refusalOf(error: unknown, issuer: TrustedIssuer, audience: string): MeshpassError {
  if (error instanceof MeshpassError) return error;
  const cause = { cause: error };
  if (error instanceof errors.JWTExpired) {
    return new MeshpassError('proof_expired', 'This ID token has expired. Obtain a new one.', cause);
  }
  if (error instanceof errors.JWTClaimValidationFailed) {
    const { claim, reason } = error;
    if (claim === 'aud') {
      const message = `This ID token has the wrong audience. Request one from ${issuer.name} with the audience ${audience}.`;
      return new MeshpassError('proof_audience', message, cause);
    }
    if (claim === 'nbf' && reason === 'check_failed') return notYetValid(cause);
    return malformedError(`the ${claim} claim is missing or invalid`);
  }
  if (error instanceof errors.JWSSignatureVerificationFailed) {
    return new MeshpassError('proof_signature', `This ID token is not signed by ${issuer.name}.`, cause);
  }
  if (error instanceof errors.JOSEAlgNotAllowed) {
    return new MeshpassError('proof_algorithm', "This ID token's signing algorithm is not allowed.", cause);
  }
  const unusable = error instanceof errors.JWSInvalid || error instanceof errors.JWTInvalid;
  if (unusable || error instanceof errors.JOSENotSupported) return malformedError('it is not a valid signed JWT');
  // Either no key matches the token, or more than one does, or the key is too weak.
  return new MeshpassError(
    'proof_key_unknown',
    `${issuer.name} does not publish a key that matches this ID token. Obtain a new one.`,
    cause,
  );
}

/** Checks the claims that jose does not check. */
function checkClaims(claims: JWTPayload, audience: string, now: number) {
  const { sub, exp = 0, iat = 0, aud, azp, events } = claims;
  // A logout token without a type could be mistaken for an ID token, because both have the same signing key and
  // audience. Logout tokens never contain a nonce (Back-Channel Logout 1.0 section 2.4).
  if (events !== undefined) throw malformedError('it contains an events claim, like a logout token');
  if (typeof sub !== 'string' || sub === '' || sub.length > MAX_SUBJECT_LENGTH || !sub.isWellFormed()) {
    throw malformedError('the sub claim is missing or invalid');
  }
  if (iat > now + SKEW_SECONDS) throw notYetValid({});
  if (exp > now + MAX_LIFE_SECONDS) {
    throw new MeshpassError(
      'proof_rejected',
      "This ID token's lifetime is too long. Its issuer must limit it to one day.",
    );
  }
  // OpenID Connect Core 3.1.3.7: if the token has more than one audience, its authorized party must be our client.
  if (Array.isArray(aud) && aud.length > 1 && azp !== undefined && azp !== audience) {
    throw new MeshpassError('proof_audience', `This ID token was issued to a client (azp) other than ${audience}.`);
  }
  return { subject: sub, exp };
}

function notYetValid(options: { cause?: unknown }): MeshpassError {
  const message = 'This ID token is not valid yet. Check the clocks of its issuer and the broker.';
  return new MeshpassError('proof_not_yet_valid', message, options);
}
