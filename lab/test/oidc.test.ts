/** Both issuers give tokens that an ordinary verifier takes, and forgeries that it does not. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createRemoteJWKSet, decodeJwt, decodeProtectedHeader, jwtVerify } from 'jose';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type RunningActions, startActions } from '../src/oidc/actions.ts';
import { FORGERIES } from '../src/oidc/forge.ts';
import { ONE_CLIENT, type RunningIdp, startIdp } from '../src/oidc/idp.ts';

let idp: RunningIdp;
let actions: RunningActions;

beforeAll(async () => {
  [idp, actions] = await Promise.all([startIdp({ listen: '127.0.0.1:0' }), startActions({ listen: '127.0.0.1:0' })]);
});
afterAll(() => Promise.all([idp.close(), actions.close()]));

async function verifier(issuer: string) {
  const document = await discover(issuer);
  expect(document.issuer).toBe(issuer);
  const keys = createRemoteJWKSet(new URL(document.jwks_uri));
  return (token: string, audience: string) =>
    jwtVerify(token, keys, {
      issuer,
      audience,
      algorithms: ['RS256', 'ES256'],
      requiredClaims: ['exp', 'sub'],
      typ: 'JWT',
    });
}

describe('the identity provider of a company', () => {
  test('signs for its people, by its own class and by its own keys', async () => {
    const verify = await verifier(idp.issuer);
    const read = async (request: Parameters<typeof idp.admin.idToken>[0], audience: string) => {
      const { payload } = await jwtVerify(await idp.admin.idToken(request), await keysOf(idp.issuer), {
        issuer: idp.issuer,
        audience,
      });
      return payload;
    };
    expect(await read({ subject: '00u1alice', claims: { jti: 'one' } }, 'meshpass')).toMatchObject({
      sub: '00u1alice',
      jti: 'one',
      email: 'alice@acme.com',
      groups: ['payments', 'everyone'],
    });
    expect(await read({ subject: 'x', audience: ['a', 'other'], alg: 'ES256' }, 'other')).toMatchObject({ sub: 'x' });
    await expect(verify(await idp.admin.idToken({ subject: 'x', audience: 'other' }), 'meshpass')).rejects.toThrow();
  });

  test('publishes no private half of a key', async () => {
    const { keys } = (await (await fetch(`${idp.issuer}/jwks`)).json()) as { keys: object[] };
    expect(keys.length).toBeGreaterThan(3);
    for (const key of keys) expect(Object.keys(key)).not.toContain('d');
  });

  test('starts the device flow (RFC 8628)', async () => {
    const response = await fetch(`${idp.issuer}/device/auth`, {
      method: 'POST',
      body: new URLSearchParams({ client_id: 'meshpass', scope: 'openid email groups' }),
    });
    expect(response.status).toBe(200);
    expect(await response.json()).toMatchObject({
      device_code: expect.any(String),
      user_code: expect.any(String),
      verification_uri: `${idp.issuer}/device`,
    });
  });

  test('has one client for operators, workspaces and the page, as docs/identity/client.md says', async () => {
    const device = await fetch(`${idp.issuer}/device/auth`, {
      method: 'POST',
      body: new URLSearchParams({ client_id: ONE_CLIENT, scope: 'openid offline_access groups' }),
    });
    expect(device.status).toBe(200);
    const authorization = async (redirect_uri: string) => {
      const pkce = { code_challenge: 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM', code_challenge_method: 'S256' };
      const query = { client_id: ONE_CLIENT, response_type: 'code', scope: 'openid groups', redirect_uri, ...pkce };
      return (await fetch(`${idp.issuer}/auth?${new URLSearchParams(query)}`, { redirect: 'manual' })).status;
    };
    expect(await authorization('http://127.0.0.1:45123/callback')).toBe(303);
    expect(await authorization('http://localhost:9090/page/callback/okta')).toBe(303);
    expect(await authorization('http://127.0.0.1:45123/elsewhere')).toBe(400);
  });

  test('rotates its keys, with and without the old ones', async () => {
    const before = await idp.admin.idToken({ subject: 'x' });
    await idp.admin.rotateKeys(true);
    const after = await idp.admin.idToken({ subject: 'x' });
    expect(decodeProtectedHeader(after).kid).not.toBe(decodeProtectedHeader(before).kid);
    await jwtVerify(before, await keysOf(idp.issuer));
    await idp.admin.rotateKeys(false);
    await expect(jwtVerify(before, await keysOf(idp.issuer))).rejects.toThrow();
  });
});

describe('the issuer of GitHub Actions', () => {
  test('issues a job its token for the requested audience', async () => {
    const job = await actions.admin.startJob({ environment: 'prod:eu' });
    const ask = (token: string) =>
      fetch(`${job.ACTIONS_ID_TOKEN_REQUEST_URL}&audience=meshpass`, { headers: { authorization: `bearer ${token}` } });
    expect((await ask('wrong')).status).toBe(401);
    const answer = await ask(job.ACTIONS_ID_TOKEN_REQUEST_TOKEN);
    const { value, count } = (await answer.json()) as { value: string; count: number };
    expect(count).toBe(value.length);
    const { payload } = await (await verifier(actions.issuer))(value, 'meshpass');
    expect(payload).toMatchObject({
      sub: 'repo:acme/payments-api:environment:prod%3Aeu',
      repository_id: '7001',
      repository_owner_id: '9919001',
      actor_id: '583231',
      jti: expect.any(String),
      job_workflow_ref: 'acme/payments-api/.github/workflows/ci.yml@refs/heads/main',
    });
    expect(payload.iat! - payload.nbf!).toBe(600);
  });

  test('also issues the immutable subject', async () => {
    const sub = async (job: object) => decodeJwt(await actions.admin.idToken({ audience: 'x', job })).sub;
    expect(await sub({ immutableSubject: true })).toBe('repo:acme@9919001/payments-api@7001:ref:refs/heads/main');
    expect(await sub({ event: 'pull_request' })).toBe('repo:acme/payments-api:pull_request');
  });
});

describe('a forgery is refused by an ordinary verifier', () => {
  // jose accepts these by design: the caller must demand the missing claims.
  const callers = [
    'no-subject',
    'no-expiry',
    'endless',
    'issued-in-future',
    'other-type',
    'deep-claims',
    'deep-header',
    'huge',
    // It parses them in one of two possible ways, and the signature covers the bytes.
    'member-twice',
    'member-twice-in-other-writing',
    'header-member-twice',
    'padded-base64',
  ];
  test.each(FORGERIES.filter((name) => !callers.includes(name)))('%s', async (forgery) => {
    const token = await idp.admin.idToken({ subject: 'x', claims: { jti: forgery }, forgery });
    await expect((await verifier(idp.issuer))(token, 'meshpass')).rejects.toThrow();
  });
});

test('a restart signs with the same keys', async () => {
  const state = mkdtempSync(join(tmpdir(), 'meshpass-oidc-'));
  try {
    const kid = async () => {
      const running = await startActions({ listen: '127.0.0.1:0', issuer: 'https://token.actions.test:9443', state });
      const token = await running.admin.idToken({ audience: 'x' });
      await running.close();
      return decodeProtectedHeader(token).kid;
    };
    expect(await kid()).toBe(await kid());
  } finally {
    rmSync(state, { recursive: true });
  }
});

async function keysOf(issuer: string) {
  const document = await discover(issuer);
  return createRemoteJWKSet(new URL(document.jwks_uri));
}

async function discover(issuer: string) {
  const response = await fetch(`${issuer}/.well-known/openid-configuration`);
  return (await response.json()) as { issuer: string; jwks_uri: string };
}
