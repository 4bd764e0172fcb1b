/**
 * Implements the OAuth 2.0 device flow (RFC 8628) for a public client. The user signs in on any device that has a
 * browser, and the workspace receives the tokens. The four requests are implemented here because a client library would
 * cost every workspace 14 MB of memory.
 */
import { isPlainText, MeshpassError } from '@meshpass/identity';
import type { SignInOffer } from '@meshpass/identity/sign-in';
import { z } from 'zod';
import { type IssuerHttpResponse, type IssuerRequester, signInFailedError } from './issuer-http.ts';

/** Instructions that tell the user how to sign in. */
export interface SignInPrompt {
  readonly issuer: string;
  /** The https URL that the user should open. */
  readonly verificationUri: string;
  /** The URL that already includes the code. Absent if the provider does not support this. */
  readonly verificationUriComplete?: string;
  readonly userCode: string;
  /** When the code expires, in Unix milliseconds. */
  readonly expiresAt: number;
}

export interface IssuerTokens {
  readonly idToken: string;
  readonly refreshToken: string | undefined;
}

const httpsUrl = z
  .url({ protocol: /^https$/ })
  .max(2_048)
  .refine(isPlainText);
const plain = (longest: number) => z.string().min(1).max(longest).refine(isPlainText);
const Discovery = z.object({
  issuer: z.string(),
  device_authorization_endpoint: httpsUrl.optional(),
  token_endpoint: httpsUrl,
  revocation_endpoint: httpsUrl.optional(),
});
const DeviceAuthorization = z.object({
  device_code: plain(4_096),
  user_code: plain(64),
  verification_uri: httpsUrl,
  verification_uri_complete: httpsUrl.optional(),
  expires_in: z.number().positive().max(3_600),
  interval: z.number().positive().max(60).default(5),
});
const Tokens = z.object({ id_token: plain(16_384), refresh_token: plain(8_192).optional() });
const Failure = z.object({ error: plain(64) });

const DEVICE_CODE = 'urn:ietf:params:oauth:grant-type:device_code';
/** How many milliseconds are added to the polling interval for each `slow_down` (RFC 8628 section 3.5). */
const SLOW_DOWN = 5_000;

export type IssuerClient = Awaited<ReturnType<typeof createIssuerClient>>;

/**
 * Creates a client for an issuer, whose endpoints it looks up in the issuer's discovery document (OpenID Connect
 * Discovery 1.0 section 4).
 * @param now returns the current time in Unix milliseconds
 * @throws MeshpassError agent_sign_in_failed
 */
export async function createIssuerClient(offer: SignInOffer, ask: IssuerRequester, now: () => number) {
  const { name, client_id } = offer;
  const { device, token, revocation } = await discoverEndpoints(offer, ask);
  return {
    name,
    /**
     * Starts the device flow.
     * @param nonce the nonce that binds the ID token to the session's key
     * @throws MeshpassError agent_sign_in_failed
     */
    async begin(nonce: string) {
      const { status, json } = await ask(device, { client_id, scope: offer.scopes.join(' '), nonce });
      const read = DeviceAuthorization.safeParse(json);
      if (status !== 200 || !read.success)
        throw signInFailedError(`${name} refused to start the sign-in (${failureOf(json)})`);
      const { device_code: deviceCode, user_code: userCode, interval, expires_in: seconds, ...uris } = read.data;
      const complete = uris.verification_uri_complete;
      const prompt: SignInPrompt = {
        issuer: name,
        userCode,
        verificationUri: uris.verification_uri,
        ...(complete !== undefined && { verificationUriComplete: complete }),
        expiresAt: now() + seconds * 1000,
      };
      return { prompt, deviceCode, interval: interval * 1000 };
    },
    /**
     * Polls the issuer until the user has accepted or declined the sign-in.
     * @param flow the result of `begin`, with the polling interval in milliseconds
     * @param pause waits for the given number of milliseconds, or throws if the result is no longer needed
     * @throws MeshpassError agent_sign_in_refused if the user or the provider denied the sign-in or the code has
     *   expired, or agent_sign_in_failed
     */
    async finish(
      { prompt, deviceCode, interval }: { prompt: SignInPrompt; deviceCode: string; interval: number },
      pause: (ms: number) => Promise<void>,
    ): Promise<IssuerTokens> {
      const form = { grant_type: DEVICE_CODE, device_code: deviceCode, client_id };
      for (let wait = interval; now() < prompt.expiresAt; ) {
        await pause(wait);
        // After a connection failure, RFC 8628 section 3.5 requires the client to poll more slowly.
        const answer = await ask(token, form).catch(() => undefined);
        if (answer?.status === 200) return readTokens(name, answer.json);
        wait += slowDownAfter(answer, name);
      }
      throw notCompleted(name);
    },
    /**
     * Obtains a fresh ID token (OpenID Connect Core section 12).
     * @returns undefined if the provider refuses. The user may have signed out or been disabled there, or the refresh
     *   token may be too old
     * @throws MeshpassError agent_sign_in_failed if the provider is unreachable
     */
    async refresh(refreshToken: string): Promise<IssuerTokens | undefined> {
      const { status, json } = await ask(token, {
        grant_type: 'refresh_token',
        refresh_token: refreshToken,
        client_id,
      });
      if (status === 200) {
        const tokens = readTokens(name, json);
        // If the response contains no new refresh token, the old one remains valid (RFC 6749 section 6).
        return { ...tokens, refreshToken: tokens.refreshToken ?? refreshToken };
      }
      if (status >= 400 && status < 500 && status !== 429 && status !== 408) return undefined;
      throw signInFailedError(`${name} responded with ${status}`);
    },
    /** Revokes a refresh token that is no longer needed (RFC 7009). This function never throws. */
    async revoke(refreshToken: string): Promise<void> {
      if (revocation === undefined) return;
      const form = { token: refreshToken, token_type_hint: 'refresh_token', client_id };
      await ask(revocation, form).catch(() => {}); // the token expires on its own
    },
  };
}

async function discoverEndpoints({ name, issuer }: SignInOffer, ask: IssuerRequester) {
  const { status, json } = await ask(`${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`);
  const read = Discovery.safeParse(json);
  if (status !== 200 || !read.success) throw signInFailedError(`${name} has no usable discovery document`);
  // Section 4.3 requires an exact match. Otherwise, the document belongs to a different issuer.
  if (read.data.issuer !== issuer)
    throw signInFailedError(`the discovery document of ${name} belongs to a different issuer`);
  const { device_authorization_endpoint: device, token_endpoint: token, revocation_endpoint: revocation } = read.data;
  if (device === undefined) throw signInFailedError(`${name} does not support the device flow (RFC 8628)`);
  return { device, token, revocation };
}

/**
 * Handles a response without tokens.
 * @param answer the response, or undefined if the connection failed
 * @returns the number of milliseconds by which to extend the polling interval
 * @throws MeshpassError agent_sign_in_refused or agent_sign_in_failed if there is no point in polling again
 */
function slowDownAfter(answer: IssuerHttpResponse | undefined, name: string): number {
  const error = answer ? failureOf(answer.json) : 'slow_down';
  if (error === 'slow_down') return SLOW_DOWN;
  if (error === 'access_denied') throw refused(`the sign-in at ${name} was denied`);
  if (error === 'expired_token') throw notCompleted(name);
  if (error !== 'authorization_pending' && answer!.status < 500)
    throw signInFailedError(`${name} responded with ${error}`);
  return 0;
}

function readTokens(name: string, json: unknown): IssuerTokens {
  const read = Tokens.safeParse(json);
  if (!read.success) throw signInFailedError(`${name} did not return an ID token`);
  return { idToken: read.data.id_token, refreshToken: read.data.refresh_token };
}

/** Returns only the error code, because error descriptions are free text from the provider. */
function failureOf(json: unknown): string {
  const read = Failure.safeParse(json);
  return read.success ? read.data.error : 'no OAuth error';
}

function notCompleted(name: string): MeshpassError {
  return refused(`the sign-in at ${name} was not completed in time`);
}

function refused(why: string): MeshpassError {
  return new MeshpassError(
    'agent_sign_in_refused',
    `${why[0]!.toUpperCase()}${why.slice(1)}. Run meshpass sign-in again.`,
  );
}
