/** A company's identity provider: `oidc-provider` (certified), with a directory of people and the device flow. */

import type { RequestListener } from 'node:http';
import { join } from 'node:path';
import { getRequestListener, type HttpBindings } from '@hono/node-server';
import { Hono } from 'hono';
import type { JWTPayload } from 'jose';
import Provider, { interactionPolicy } from 'oidc-provider';
import { type Listening, listen, type TlsFiles } from '../stand-in/listen.ts';
import { type IdpAdmin, type IdTokenRequest, idpAdmin } from './admin-client.ts';
import { fetchTrusting, type PostInit } from './fetch-trusting.ts';
import { forgeToken } from './forge.ts';
import { type Keys, openKeys } from './keys.ts';

export interface IdpOptions {
  /** `HOST:PORT`, port 0 for any free one. */
  readonly listen: string;
  /** Issuer URL, or by default its listen address. */
  readonly issuer?: string;
  /** Without it plain HTTP, for unit tests on loopback. */
  readonly tls?: TlsFiles;
  /** Directory in which the keys survive a restart. */
  readonly state?: string;
  /**
   * Signs people in for native clients without asking them each time, as companies have it for clients of their own. A provider may refuse that
   * (RFC 8252 section 8.6), and this one does so otherwise.
   */
  readonly trustsNativeClients?: boolean;
}

export interface RunningIdp extends Listening {
  readonly issuer: string;
  readonly admin: IdpAdmin;
}

export const ADMIN_PATH = '/_lab_only_admin';
/** The client that Meshpass is at this provider, and so the audience of its ID tokens. */
export const MESHPASS_CLIENT = 'meshpass';
/** The client with which people sign in as operators. */
export const OPERATOR_CLIENT = 'meshpass-operators';
/** A single client for everything, registered as in docs/identity/client.md. */
export const ONE_CLIENT = 'meshpass-one';
const ID_TOKEN_SECONDS = 600;

/** People who can sign in, by `sub`. The development login form accepts each of these names with any password. */
export const PEOPLE: Readonly<Record<string, { email: string; email_verified: boolean; groups: string[] }>> = {
  '00u1alice': { email: 'alice@acme.com', email_verified: true, groups: ['payments', 'everyone'] },
  '00u2bob': { email: 'bob@acme.com', email_verified: true, groups: ['sre', 'everyone'] },
  '00u9mallory': { email: 'mallory@evil.example', email_verified: true, groups: [] },
};

export async function startIdp(options: IdpOptions): Promise<RunningIdp> {
  const keys = await openKeys(options.state && join(options.state, 'idp-keys.json'));
  let handler: RequestListener = (_request, response) => response.writeHead(503).end();
  const listening = await listen(options.listen, (request, response) => handler(request, response), options.tls);
  const issuer = options.issuer ?? listening.url;

  let requests: string[] = [];
  let down = false;
  const { trustsNativeClients = false } = options;
  const told: Told = { disabled: new Set(), backchannels: new Map(), trustsNativeClients };
  const { disabled } = told;
  let provider = createProvider(issuer, keys, told);
  let answer = provider.callback();
  // Grants and sessions are in memory that all providers of a process share.
  const create = () => {
    provider = createProvider(issuer, keys, told);
    answer = provider.callback();
  };
  const admin = new Hono().basePath(ADMIN_PATH);
  admin.post('/id-token', async (c) => {
    const request = await c.req.json<IdTokenRequest>();
    return c.json({ token: await mint(provider, issuer, keys, request) });
  });
  admin.post('/rotate', async (c) => {
    await keys.rotate((await c.req.json<{ keepOld: boolean }>()).keepOld);
    create();
    return c.json({});
  });
  admin.put('/backchannel', async (c) => {
    const { client, uri, ca } = await c.req.json<{ client: string; uri: string; ca?: string }>();
    told.backchannels.set(client, { uri, ca });
    create();
    return c.json({});
  });
  admin.put('/fault', async (c) => {
    down = (await c.req.json<{ down: boolean }>()).down;
    return c.json({});
  });
  admin.put('/disabled', async (c) => {
    const { subject, disabled: is } = await c.req.json<{ subject: string; disabled: boolean }>();
    if (is) disabled.add(subject);
    else disabled.delete(subject);
    return c.json({});
  });
  admin.get('/requests', (c) => c.json(requests));
  admin.delete('/requests', (c) => {
    requests = [];
    return c.json({});
  });

  const adminHandler = getRequestListener((request, env) => admin.fetch(request, env as HttpBindings));
  handler = (request, response) => {
    if (request.url?.startsWith(`${ADMIN_PATH}/`)) return adminHandler(request, response);
    requests.push(`${request.method} ${request.url}`);
    if (down) return void request.socket.destroy();
    return answer(request, response);
  };
  return { ...listening, issuer, admin: idpAdmin(listening.url) };
}

/** An ID token from the provider's own class where Meshpass is its audience; with the provider's key otherwise. */
async function mint(provider: Provider, issuer: string, keys: Keys, request: IdTokenRequest): Promise<string> {
  const { subject, claims = {}, audience = MESHPASS_CLIENT, alg, forgery, attackerUrl } = request;
  const now = Math.floor(Date.now() / 1000);
  const good: JWTPayload = {
    iss: issuer,
    sub: subject,
    aud: audience,
    iat: now,
    exp: now + ID_TOKEN_SECONDS,
    ...PEOPLE[subject],
    ...claims,
  };
  if (forgery) return forgeToken(forgery, good, keys, attackerUrl);
  const client = typeof audience === 'string' && !alg ? await provider.Client.find(audience) : undefined;
  if (!client || ['iss', 'aud', 'exp', 'iat'].some((name) => name in claims))
    return keys.sign(good, alg ? { alg } : {});
  const token = new provider.IdToken({ sub: subject }, { client } as never);
  for (const [name, value] of Object.entries({ sub: subject, ...PEOPLE[subject], ...claims }))
    token.set(name, value as never);
  return token.issue({ use: 'idtoken' });
}

/** Settings that tests have changed. */
interface Told {
  readonly disabled: Set<string>;
  readonly backchannels: Map<string, { readonly uri: string; readonly ca: string | undefined }>;
  readonly trustsNativeClients: boolean;
}

function createProvider(issuer: string, keys: Keys, told: Told): Provider {
  const { disabled, backchannels } = told;
  const backchannel = (client: string) => {
    const at = backchannels.get(client);
    return at && { backchannel_logout_uri: at.uri, backchannel_logout_session_required: true };
  };
  return new Provider(issuer, {
    jwks: { keys: keys.current().map((jwk) => ({ ...jwk })) as never },
    fetch: (url, init) => {
      const { ca } = [...backchannels.values()].find(({ uri }) => uri === String(url)) ?? {};
      return fetchTrusting(ca, String(url), init as PostInit);
    },
    clients: [
      {
        ...backchannel(MESHPASS_CLIENT),
        client_id: MESHPASS_CLIENT,
        client_name: 'Meshpass',
        // `auth_time` in ID tokens: by it a sign-in after a logout is known for a new one.
        require_auth_time: true,
        application_type: 'native',
        token_endpoint_auth_method: 'none',
        grant_types: ['urn:ietf:params:oauth:grant-type:device_code', 'refresh_token'],
        redirect_uris: [],
        response_types: [],
      },
      {
        ...backchannel(OPERATOR_CLIENT),
        client_id: OPERATOR_CLIENT,
        client_name: 'Meshpass operators',
        application_type: 'native',
        token_endpoint_auth_method: 'none',
        grant_types: ['authorization_code', 'urn:ietf:params:oauth:grant-type:device_code', 'refresh_token'],
        // The port of a loopback redirect is not compared (RFC 8252 section 7.3).
        redirect_uris: ['http://127.0.0.1/callback', 'http://127.0.0.1/page/callback/corp'],
        response_types: ['code'],
      },
      {
        client_id: ONE_CLIENT,
        client_name: 'Meshpass: operators, workspaces and the page',
        application_type: 'native',
        token_endpoint_auth_method: 'none',
        grant_types: ['authorization_code', 'urn:ietf:params:oauth:grant-type:device_code', 'refresh_token'],
        redirect_uris: [
          'http://127.0.0.1/callback',
          'http://127.0.0.1/page/callback/corp',
          'http://localhost/page/callback/okta',
        ],
        response_types: ['code'],
      },
    ],
    features: {
      deviceFlow: { enabled: true },
      devInteractions: { enabled: true },
      revocation: { enabled: true },
      backchannelLogout: { enabled: true },
    },
    interactions: { policy: policyOf(told) },
    scopes: ['openid', 'offline_access', 'email', 'groups'],
    claims: { openid: ['sub'], email: ['email', 'email_verified'], groups: ['groups'] },
    // The device flow's ID token contains claims of the requested scopes, like those of company providers.
    conformIdTokenClaims: false,
    ttl: { IdToken: ID_TOKEN_SECONDS, AccessToken: 600, DeviceCode: 600, Grant: 3600, Session: 3600, Interaction: 600 },
    findAccount: (_ctx, sub) => {
      const person = disabled.has(sub) ? undefined : PEOPLE[sub];
      return person && { accountId: sub, claims: () => ({ sub, ...person }) };
    },
  });
}

/** Time of an interaction: also if the account of a session was deleted. */
function policyOf({ trustsNativeClients }: Told): interactionPolicy.DefaultPolicy {
  const policy = interactionPolicy.base();
  const gone = new interactionPolicy.Check('account_gone', 'this account is disabled', 'login_required', ({ oidc }) =>
    Boolean(oidc.session?.accountId && !oidc.account),
  );
  policy.get('login')?.checks.add(gone);
  if (trustsNativeClients) policy.get('consent')?.checks.remove('native_client_prompt');
  return policy;
}
