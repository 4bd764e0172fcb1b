/**
 * Obtains tokens from an issuer for the public client in the access file. It supports the authorization code flow with
 * PKCE, the device flow, and refresh tokens. Operators are confirmed by the ID tokens that the issuer returns for a
 * refresh.
 */
import { MeshpassError } from '@meshpass/identity';
import * as oidc from 'openid-client';
import { listenForRedirect } from '../browser/redirect.ts';
import type { StoredRefreshToken } from './session-file.ts';

export interface Issuer {
  readonly issuer: string;
  readonly client: string;
  /** The scopes to request in addition to `openid`. */
  readonly scopes: readonly string[];
  /** Whether to request a refresh token. */
  readonly refresh: boolean;
  /** Whether the browser flow uses `prompt=consent` to request a refresh token (OpenID Connect Core section 11). */
  readonly consent: boolean;
}

export interface Tokens {
  readonly idToken: string;
  /** The refresh token. Absent if it was not requested or not issued. */
  readonly refreshToken?: string;
}

export interface SignInOptions {
  /** The `nonce` that the ID token must contain. */
  readonly nonce: string;
  /** The port of the loopback redirect. If it is 0, any free port is used. */
  readonly port: number;
  readonly patienceMs: number;
  /** Called with the URL to open in a browser. */
  readonly onUrl: (url: string) => void;
}

export interface DeviceSignInOptions extends Pick<SignInOptions, 'nonce' | 'patienceMs'> {
  readonly onCode: (code: {
    readonly url: string;
    readonly code: string;
    readonly complete: string | undefined;
  }) => void;
}

/**
 * Signs in with a browser, using the authorization code flow (RFC 6749 section 4.1) with PKCE (RFC 7636, S256),
 * `state`, `nonce`, and a check of the response's issuer (RFC 9207).
 * @throws MeshpassError `issuer_unavailable`, `proof_rejected`, `request_timeout`, `usage`
 */
export async function signInWithBrowser(issuer: Issuer, options: SignInOptions): Promise<Tokens> {
  const config = await discover(issuer);
  await using redirect = await listenForRedirect({
    port: options.port,
    patienceMs: options.patienceMs,
    path: '/callback',
    done: 'Return to the terminal to see whether you are signed in.',
    late: 'The issuer did not send the browser back. You are not signed in.',
  });
  const verifier = oidc.randomPKCECodeVerifier();
  const url = oidc.buildAuthorizationUrl(config, {
    redirect_uri: redirect.url,
    scope: scopeOf(issuer),
    state: redirect.state,
    nonce: options.nonce,
    code_challenge: await oidc.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    ...(issuer.refresh && issuer.consent && { prompt: 'consent' }),
  });
  options.onUrl(url.href);
  const answer = await redirect.answer;
  // Reject a response from a different issuer (RFC 9207), even if this issuer does not declare that it supports the
  // parameter.
  const said = answer.searchParams.get('iss');
  if (said !== null && said !== config.serverMetadata().issuer)
    throw new MeshpassError('proof_rejected', 'A different issuer responded (iss). You are not signed in.');
  const tokens = await understood(issuer, () =>
    oidc.authorizationCodeGrant(config, answer, {
      pkceCodeVerifier: verifier,
      expectedState: redirect.state,
      expectedNonce: options.nonce,
      idTokenExpected: true,
    }),
  );
  return tokensOf(tokens);
}

/**
 * Signs in with the device flow (RFC 8628). The request also contains a nonce, although not every issuer supports it.
 * @throws MeshpassError `issuer_unavailable`, `proof_rejected`, `request_timeout`
 */
export async function signInWithDevice(issuer: Issuer, options: DeviceSignInOptions): Promise<Tokens> {
  const config = await discover(issuer);
  const begun = await understood(issuer, () =>
    oidc.initiateDeviceAuthorization(config, { scope: scopeOf(issuer), nonce: options.nonce }),
  );
  options.onCode({ url: begun.verification_uri, code: begun.user_code, complete: begun.verification_uri_complete });
  const signal = AbortSignal.timeout(options.patienceMs);
  const tokens = await understood(issuer, () =>
    oidc.pollDeviceAuthorizationGrant(config, begun, undefined, { signal }),
  );
  return tokensOf(tokens);
}

/**
 * Requests new tokens (OpenID Connect Core section 12). The issuer may rotate the refresh token (RFC 9700 section
 * 4.14.2).
 * @returns undefined if the issuer permanently rejects the refresh token, for example because the user was disabled or
 *   has signed out, or because the token has expired. It is also undefined if the issuer does not return an ID token,
 *   which is optional in a refresh. In that case, the refresh token is revoked
 * @throws MeshpassError `issuer_unavailable`, `proof_rejected`, `request_timeout`
 */
export async function refreshTokens({ token, ...issuer }: StoredRefreshToken): Promise<Tokens | undefined> {
  const config = await discover(issuer);
  return await understood(issuer, async () => {
    try {
      const given = await oidc.refreshTokenGrant(config, token);
      if (given.id_token !== undefined) return tokensOf(given);
      await revokeRefreshToken({ ...issuer, token: given.refresh_token ?? token });
      return undefined;
    } catch (thrown) {
      if (!(thrown instanceof oidc.ResponseBodyError)) throw thrown;
      const { status } = thrown;
      // An issuer that is busy or failing has not rejected the token.
      if (status < 500 && status !== 408 && status !== 429) return undefined;
      throw new MeshpassError('issuer_unavailable', `${issuer.issuer} returned status ${status}.`, { cause: thrown });
    }
  });
}

/**
 * Revokes a refresh token (RFC 7009).
 * @returns whether the issuer accepted the revocation
 */
export async function revokeRefreshToken({ token, ...issuer }: StoredRefreshToken): Promise<boolean> {
  try {
    const config = await discover(issuer);
    if (config.serverMetadata().revocation_endpoint === undefined) return false;
    await oidc.tokenRevocation(config, token, { token_type_hint: 'refresh_token' });
    return true;
  } catch {
    return false;
  }
}

function scopeOf({ scopes, refresh }: Issuer): string {
  return [...new Set(['openid', ...(refresh ? ['offline_access'] : []), ...scopes])].join(' ');
}

/**
 * Extracts the tokens from a token response.
 * @throws MeshpassError `proof_rejected`
 */
function tokensOf(given: { readonly id_token?: string; readonly refresh_token?: string }): Tokens {
  const { id_token: idToken, refresh_token: refreshToken } = given;
  if (idToken !== undefined) return { idToken, ...(refreshToken !== undefined && { refreshToken }) };
  throw new MeshpassError('proof_rejected', 'The issuer returned no ID token. Its client requires the openid scope.');
}

/**
 * Discovers an issuer's metadata.
 * @throws MeshpassError `issuer_unavailable`
 */
async function discover({ issuer, client }: Pick<Issuer, 'issuer' | 'client'>): Promise<oidc.Configuration> {
  const url = new URL(issuer);
  // Allow plain HTTP only on the loopback interface.
  const isLocal = url.protocol === 'http:' && ['127.0.0.1', 'localhost', '[::1]'].includes(url.hostname);
  const execute = isLocal ? [oidc.allowInsecureRequests] : [];
  return await understood({ issuer }, () => oidc.discovery(url, client, undefined, oidc.None(), { execute }));
}

/**
 * Converts the errors that `ask` throws. Their messages never contain the response, because it may contain tokens.
 * @throws MeshpassError `proof_rejected`, `issuer_unavailable`, `request_timeout`
 */
async function understood<T>({ issuer }: Pick<Issuer, 'issuer'>, ask: () => Promise<T>): Promise<T> {
  try {
    return await ask();
  } catch (cause) {
    if (cause instanceof MeshpassError) throw cause;
    if (cause instanceof oidc.AuthorizationResponseError || cause instanceof oidc.ResponseBodyError)
      throw new MeshpassError('proof_rejected', `${issuer} did not sign you in: ${plain(cause.error)}.`, { cause });
    if (isTimeout(cause))
      throw new MeshpassError('request_timeout', 'The sign-in timed out. You are not signed in.', { cause });
    if (cause instanceof oidc.ClientError && cause.code !== 'OAUTH_TIMEOUT')
      throw new MeshpassError(
        'proof_rejected',
        `The response from ${issuer} was rejected (${plain(cause.code ?? cause.message)}).`,
        { cause },
      );
    throw new MeshpassError('issuer_unavailable', `${issuer} does not respond as an OpenID Connect issuer should.`, {
      cause,
    });
  }
}

function isTimeout(thrown: unknown): boolean {
  for (let one = thrown; one instanceof Error; one = one.cause)
    if (one.name === 'TimeoutError' || one.name === 'AbortError') return true;
  return false;
}

function plain(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, '?').slice(0, 100);
}
