/**
 * Signs operators in from a browser with an authorization code (RFC 6749 section 4.1), PKCE (RFC 7636, S256), `state`
 * and `nonce`. The broker does not store anything: `state`, `nonce` and the PKCE verifier are derived from a secret in
 * a cookie. The response is therefore useless in a different browser, but a different broker can finish the sign-in.
 * Every issuer has its own redirect URI, and identifies itself if it supports RFC 9207, so that a response cannot be
 * attributed to another issuer (RFC 9700 section 4.4).
 */
import { createHmac } from 'node:crypto';
import { operatorClientOf } from '@meshpass/access';
import { MeshpassError, operatorNonce } from '@meshpass/identity';
import { ApprovalId } from '@meshpass/identity/approval';
import * as oidc from 'openid-client';
import {
  createTtlCache,
  type IssuerHttpOptions,
  issuerUnavailableError,
  labOnlyPlainHttpIssuers,
  requestIssuer,
} from '../../../issuers/index.ts';
import { type OperatorSignInContext, operatorIssuers } from '../sign-in.ts';

/** Starts and finishes browser sign-ins. */
export type BrowserSignIn = ReturnType<typeof createBrowserSignIn>;

/** The result of a browser sign-in. */
export type BrowserSignInResult = Awaited<ReturnType<BrowserSignIn['finish']>>;

/** How long a sign-in may take, in seconds. */
export const SIGN_IN_SECONDS = 600;
/**
 * The prefix of every browser session's binding. Key thumbprints never start with it, so the CLI cannot use an ID token
 * that was issued to a browser.
 */
const PAGE = 'page.';
const DISCOVERY_MS = 3_600_000;
const CAPACITY = 50;
const KEPT = /^([A-Za-z0-9_-]{43})\.([a-z0-9-]{1,63})\.([0-9a-f]{24})?(\.silent)?$/;
/** The errors that mean that the user has to interact with the issuer (OpenID Connect Core section 3.1.2.6). */
const NEEDS_PERSON = new Set([
  ...['login_required', 'interaction_required', 'consent_required', 'account_selection_required'],
]);

/**
 * Creates the browser sign-in.
 * @param origin the origin where browsers reach the page
 */
export function createBrowserSignIn(
  { access, clock, random }: Pick<OperatorSignInContext, 'access' | 'clock' | 'random'>,
  origin: string,
  http: IssuerHttpOptions,
) {
  const configurations = createTtlCache<oidc.Configuration>(() => DISCOVERY_MS, CAPACITY, clock);
  const known = async (name: string) => {
    const issuer = operatorIssuers(access()).find((one) => one.name === name);
    if (!issuer) throw new MeshpassError('not_found', 'Operators cannot sign in at an issuer with this name.');
    const { signIn, issuer: url } = issuer;
    const client = operatorClientOf(signIn);
    const config = await configurations.get(`${url} ${client}`, () => discover(url, client, http));
    return { issuer, config, redirect: `${origin}/page/callback/${name}` };
  };

  return {
    /** Returns the names of the issuers that operators can sign in with. */
    issuers: () => operatorIssuers(access()).map(({ name }) => name),
    /**
     * Starts a sign-in.
     * @param request the id of the approval request to show after the sign-in
     * @param silent whether to send `prompt=none`. The issuer then either confirms its signed-in user without any
     *   interaction or returns an error
     * @returns the URL to redirect to, and the cookie to keep until the response with this `state` arrives
     * @throws MeshpassError `not_found`, `issuer_unavailable`
     */
    begin: async (name: string, request: string | undefined, silent: boolean = false) => {
      const { issuer, config, redirect } = await known(name);
      const secret = random(32).toString('base64url');
      const state = derived(secret, 'state');
      const location = oidc.buildAuthorizationUrl(config, {
        redirect_uri: redirect,
        scope: ['openid', ...issuer.signIn.scopes].join(' '),
        state,
        nonce: operatorNonce(bindingOf(secret)),
        code_challenge: await oidc.calculatePKCECodeChallenge(derived(secret, 'verifier')),
        code_challenge_method: 'S256',
        ...(silent && { prompt: 'none' }),
      });
      return { location: location.href, state, cookie: `${secret}.${name}.${request ?? ''}${silent ? '.silent' : ''}` };
    },
    /**
     * Exchanges the issuer's response for an ID token.
     * @param kept the cookie of the sign-in that the response's `state` belongs to
     * @param search the query string of the redirect
     * @throws MeshpassError `not_found`, `issuer_unavailable`, `proof_rejected`, with the detail `asked` if the issuer
     *   refused the exchange
     */
    finish: async (name: string, kept: string | undefined, search: string) => {
      const [, secret, begunAt, request, silent] = KEPT.exec(kept ?? '') ?? [];
      if (secret === undefined || begunAt !== name)
        throw new MeshpassError(
          'proof_rejected',
          'This browser did not start this sign-in, or the sign-in expired or was displaced by newer ones. Start again.',
        );
      const { issuer, config, redirect } = await known(name);
      const binding = bindingOf(secret);
      const tokens = await understood(issuer.issuer, () =>
        oidc
          .authorizationCodeGrant(config, new URL(redirect + search), {
            pkceCodeVerifier: derived(secret, 'verifier'),
            expectedState: derived(secret, 'state'),
            expectedNonce: operatorNonce(binding),
            idTokenExpected: true,
          })
          .catch((thrown: unknown) => {
            if (silent !== undefined && needsPerson(thrown)) return undefined;
            throw thrown;
          }),
      );
      return {
        /** The ID token. Absent if a silent sign-in requires interaction. */
        idToken: tokens && (tokens.id_token ?? ''),
        silent: silent !== undefined,
        /** The session's binding, which is used instead of a key thumbprint. */
        binding,
        /** The id of the approval request to show. */
        wanted: ApprovalId.safeParse(request).success ? request : undefined,
      };
    },
  };
}

/** Whether the issuer's error means that the user has to interact with it. */
function needsPerson(thrown: unknown): boolean {
  return thrown instanceof oidc.AuthorizationResponseError && NEEDS_PERSON.has(thrown.error);
}

function derived(secret: string, what: string): string {
  return createHmac('sha256', secret).update(`meshpass page ${what}`).digest('base64url');
}

function bindingOf(secret: string): string {
  return PAGE + derived(secret, 'session');
}

async function discover(issuer: string, client: string, http: IssuerHttpOptions): Promise<oidc.Configuration> {
  const ask: oidc.CustomFetch = async (url, { method, headers, body }) => {
    const answer = await requestIssuer(
      new URL(url),
      { method: method === 'POST' ? 'POST' : 'GET', headers, ...(body != null && { body: String(body) }) },
      issuer,
      http,
    );
    return Response.json(answer.body ?? null, { status: answer.status });
  };
  const execute = http[labOnlyPlainHttpIssuers] ? [oidc.allowInsecureRequests] : [];
  return await understood(issuer, () =>
    oidc.discovery(new URL(issuer), client, undefined, oidc.None(), { execute, [oidc.customFetch]: ask }),
  );
}

/** Converts errors from the OIDC library. They never include the issuer's response, because it may contain tokens. */
async function understood<T>(issuer: string, ask: () => Promise<T>): Promise<T> {
  try {
    return await ask();
  } catch (thrown) {
    if (thrown instanceof MeshpassError) throw thrown;
    const { code, cause, error } = thrown as { code?: unknown; cause?: unknown; error?: unknown };
    if (cause instanceof MeshpassError) throw cause;
    if (thrown instanceof oidc.AuthorizationResponseError || thrown instanceof oidc.ResponseBodyError) {
      const detail = { asked: thrown instanceof oidc.ResponseBodyError };
      throw new MeshpassError('proof_rejected', `${issuer} did not sign you in: ${plain(error)}.`, { detail });
    }
    if (thrown instanceof oidc.ClientError)
      throw new MeshpassError(
        'proof_rejected',
        `The response from ${issuer} does not match this sign-in (${plain(code)}).`,
      );
    throw issuerUnavailableError(issuer, 'not a valid OpenID Connect response', {}, thrown);
  }
}

function plain(text: unknown): string {
  return String(text)
    .replace(/[^\x20-\x7e]/g, '?')
    .slice(0, 100);
}
