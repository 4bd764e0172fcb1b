/** The stand-in answers according to GitHub's published OpenAPI description, and refuses as GitHub does. */

import { createPrivateKey } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Ajv } from 'ajv';
import addFormats from 'ajv-formats';
import { SignJWT } from 'jose';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { StartedCodespace } from '../src/github/admin-client.ts';
import { type RunningGithub, startGithub } from '../src/github/start.ts';

let github: RunningGithub;
let alice: StartedCodespace;
let conforms: (path: string, method: string, status: number, body: unknown) => string[];

beforeAll(async () => {
  github = await startGithub({ listen: '127.0.0.1:0' });
  const file = createRequire(import.meta.url).resolve('@octokit/openapi/generated/api.github.com.json');
  const description = JSON.parse(readFileSync(file, 'utf8'));
  const ajv = new Ajv({ strict: false, allErrors: true, discriminator: false, logger: false });
  (addFormats as unknown as (ajv: Ajv) => void)(ajv);
  ajv.addSchema({ $id: 'github', ...withNull(description) });
  const pointer = (text: string) => encodeURIComponent(text.replaceAll('~', '~0').replaceAll('/', '~1'));
  conforms = (path, method, status, body) => {
    const response = description.paths[path][method].responses[status];
    const at = response.$ref
      ? `${response.$ref.slice(2)}`
      : ['paths', path, method, 'responses', String(status)].map(pointer).join('/');
    const validate = ajv.compile({ $ref: `github#/${at}/content/application~1json/schema` });
    validate(body);
    return (validate.errors ?? []).map((error) => `${error.instancePath} ${error.message}`);
  };
});
afterAll(() => github.close());
beforeEach(async () => {
  await github.admin.reset();
  const space = { owner: 'alice', repository: 'acme/payments-api', tokenReadsCodespaces: true };
  alice = await github.admin.createCodespace(space);
});

/** OpenAPI 3.0 writes `nullable` beside `anyOf` and `oneOf`; JSON Schema wants one more alternative. */
function withNull<T>(schema: T): T {
  if (Array.isArray(schema)) return schema.map(withNull) as T;
  if (schema === null || typeof schema !== 'object') return schema;
  const plain = Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, withNull(value)]));
  if (plain.nullable !== true || 'type' in plain) return plain as T;
  const { nullable: _, ...rest } = plain;
  return { anyOf: [rest, { type: 'null' }] } as T;
}

async function get(path: string, token?: string, headers: Record<string, string> = {}, method = 'GET') {
  const response = await fetch(github.url + path, {
    method,
    headers: { 'user-agent': 'test', ...(token ? { authorization: `Bearer ${token}` } : {}), ...headers },
  });
  const text = await response.text();
  return { status: response.status, headers: response.headers, body: text ? JSON.parse(text) : undefined };
}

function appJwt(changes: { issuer?: string; expiresIn?: number } = {}, pem = github.appPrivateKey): Promise<string> {
  const now = Math.floor(Date.now() / 1000);
  return new SignJWT({})
    .setProtectedHeader({ alg: 'RS256' })
    .setIssuer(changes.issuer ?? '4242')
    .setIssuedAt(now - 30)
    .setExpirationTime(now + (changes.expiresIn ?? 540))
    .sign(createPrivateKey(pem));
}

async function installationToken(): Promise<string> {
  const { body } = await get('/app/installations/515151/access_tokens', await appJwt(), {}, 'POST');
  return body.token;
}

describe('answers conform to the published description', () => {
  test('for an App that is registered by its manifest, once a code', async () => {
    const manifest = {
      name: 'Meshpass acme',
      url: 'https://broker.example.com',
      redirect_url: 'http://127.0.0.1:1/created',
      public: false,
      hook_attributes: { url: 'https://broker.example.com', active: false },
      default_permissions: { members: 'read' },
    };
    const body = new URLSearchParams({ manifest: JSON.stringify(manifest) });
    const url = `${github.url}/organizations/acme/settings/apps/new?state=mine`;
    const sent = await fetch(url, { method: 'POST', body, redirect: 'manual', headers: { 'user-agent': 'test' } });
    const back = new URL(sent.headers.get('location')!);
    expect([sent.status, back.origin, back.searchParams.get('state')]).toEqual([302, 'http://127.0.0.1:1', 'mine']);
    const path = `/app-manifests/${back.searchParams.get('code')}/conversions`;
    const made = await get(path, undefined, {}, 'POST');
    expect([made.status, made.body.slug, made.body.permissions.members]).toEqual([201, 'meshpass-acme', 'read']);
    expect(conforms('/app-manifests/{code}/conversions', 'post', 201, made.body)).toEqual([]);
    expect((await get('/app', await appJwt({}, made.body.pem))).body.slug).toBe('meshpass-acme');
    expect((await get(path, undefined, {}, 'POST')).status).toBe(404);
  });

  test('for a Codespace of its developer', async () => {
    const user = await get('/user', alice.token);
    expect(user.status).toBe(200);
    expect(conforms('/user', 'get', 200, user.body)).toEqual([]);
    expect(user.body.id).toBe(583231);
    const space = await get(`/user/codespaces/${alice.name}`, alice.token);
    expect(space.status).toBe(200);
    expect(conforms('/user/codespaces/{codespace_name}', 'get', 200, space.body)).toEqual([]);
    expect(space.body).toMatchObject({ id: alice.id, state: 'Available', owner: { id: 583231 }, prebuild: false });
    const byId = await get(`/user/${user.body.id}`, alice.token);
    expect(conforms('/user/{account_id}', 'get', 200, byId.body)).toEqual([]);
    expect(byId.body.login).toBe('alice');
    expect((await get('/user/999999', alice.token)).status).toBe(404);

    const list = await get('/user/codespaces', alice.token);
    expect(conforms('/user/codespaces', 'get', 200, list.body)).toEqual([]);
  });

  test('for the repository of a Codespace, which is all that its token reaches', async () => {
    const usual = await github.admin.createCodespace({ owner: 'alice', repository: 'acme/orders' });
    const own = await get('/repos/acme/orders', usual.token);
    expect(own.status).toBe(200);
    expect(conforms('/repos/{owner}/{repo}', 'get', 200, own.body)).toEqual([]);
    expect(own.body.id).toBe(usual.repositoryId);
    expect((await get('/repos/acme/payments-api', usual.token)).status).toBe(404);
    expect((await get(`/user/codespaces/${usual.name}`, usual.token)).status).toBe(403);
    const pat = await github.admin.createUserTokenOf('alice', 'ghp_');
    expect((await get('/user', pat)).status).toBe(200);
    expect((await get('/repos/acme/orders', pat)).status).toBe(404);
    expect((await get('/repos/acme/orders', await github.admin.createUserToken('alice'))).status).toBe(200);
  });

  test('for a GitHub App and its installation', async () => {
    const app = await get('/app', await appJwt());
    expect(conforms('/app', 'get', 200, app.body)).toEqual([]);
    const all = await get('/app/installations', await appJwt({ issuer: app.body.client_id }));
    // The list's own schema demands that an account be a user and an enterprise at once; that of one installation is right.
    expect(conforms('/orgs/{org}/installation', 'get', 200, all.body[0])).toEqual([]);
    const one = await get('/orgs/ACME/installation', await appJwt());
    expect(conforms('/orgs/{org}/installation', 'get', 200, one.body)).toEqual([]);
    const path = '/app/installations/{installation_id}/access_tokens';
    const token = await get(`/app/installations/${one.body.id}/access_tokens`, await appJwt(), {}, 'POST');
    expect(token.status).toBe(201);
    expect(conforms(path, 'post', 201, token.body)).toEqual([]);
    expect(token.body.token).toMatch(/^ghs_\w{36}$/);
  });

  test('for members of teams and organisations', async () => {
    const token = await installationToken();
    const team = await get('/orgs/acme/teams/payments/memberships/alice', token);
    expect(team.body).toMatchObject({ state: 'active', role: 'maintainer' });
    expect(conforms('/orgs/{org}/teams/{team_slug}/memberships/{username}', 'get', 200, team.body)).toEqual([]);
    const member = await get('/orgs/acme/memberships/bob', token);
    expect(conforms('/orgs/{org}/memberships/{username}', 'get', 200, member.body)).toEqual([]);
    const inTeam = await get('/orgs/acme/teams/payments/members', token);
    expect(conforms('/orgs/{org}/teams/{team_slug}/members', 'get', 200, inTeam.body)).toEqual([]);
    expect(inTeam.body).toMatchObject([{ login: 'alice', id: 583231 }]);
    const all = await get('/orgs/acme/members', token);
    expect(conforms('/orgs/{org}/members', 'get', 200, all.body)).toEqual([]);
    expect(all.body).toHaveLength(3);
    expect((await get('/orgs/acme/teams/nobodies/members', token)).status).toBe(404);
    const teams = await get('/user/teams', await github.admin.createUserToken('alice'));
    expect(teams.body).toHaveLength(1);
    expect(conforms('/user/teams', 'get', 200, teams.body)).toEqual([]);
  });

  test('for an organisation with more Codespaces than a page holds', async () => {
    for (let i = 0; i < 101; i++) await github.admin.createCodespace({ owner: 'bob', repository: 'acme/orders' });
    await github.admin.createCodespace({ owner: 'mallory', repository: 'mallory/payments-api' });
    const token = await installationToken();
    const first = await get('/orgs/acme/codespaces?per_page=100', token);
    expect(conforms('/orgs/{org}/codespaces', 'get', 200, first.body)).toEqual([]);
    expect(first.body.total_count).toBe(102);
    expect(first.body.codespaces).toHaveLength(100);
    expect(first.headers.get('link')).toContain('page=2>; rel="next"');
    const second = await get('/orgs/acme/codespaces?per_page=100&page=2', token);
    expect(second.body.codespaces).toHaveLength(2);
    const own = await get('/orgs/acme/members/alice/codespaces', token);
    expect(conforms('/orgs/{org}/members/{username}/codespaces', 'get', 200, own.body)).toEqual([]);
    expect(own.body.codespaces).toHaveLength(1);
    expect((await get('/orgs/acme/members/mallory/codespaces', token)).status).toBe(404);
  });

  test('for the budget and the addresses', async () => {
    const limit = await get('/rate_limit', alice.token);
    expect(conforms('/rate_limit', 'get', 200, limit.body)).toEqual([]);
    expect(limit.body.rate).toMatchObject({ limit: 5000, remaining: 5000 });
    expect(conforms('/meta', 'get', 200, (await get('/meta')).body)).toEqual([]);
  });

  test('for refusals', async () => {
    const none = await get('/user');
    expect(none.status).toBe(401);
    expect(conforms('/user', 'get', 401, none.body)).toEqual([]);
    expect((await get('/user', 'ghu_wrong')).body.message).toBe('Bad credentials');
    const workflow = await get('/user', await github.admin.createActionsToken());
    expect(workflow.status).toBe(403);
    expect(workflow.body.message).toBe('Resource not accessible by integration');
    const bob = await github.admin.createCodespace({ owner: 'bob', repository: 'acme/orders' });
    const other = await get(`/user/codespaces/${bob.name}`, alice.token);
    expect(other.status).toBe(404);
    expect(conforms('/user/codespaces/{codespace_name}', 'get', 404, other.body)).toEqual([]);
    const token = await installationToken();
    expect((await get('/orgs/acme/teams/payments/memberships/bob', token)).status).toBe(404);
    expect((await get('/orgs/acme/memberships/mallory', token)).status).toBe(404);
    expect((await get('/orgs/acme/teams/payments/memberships/alice', alice.token)).status).toBe(403);
    expect((await get('/nowhere')).body).toMatchObject({ message: 'Not Found', status: '404' });
  });
});

describe('the rest of a request is as on GitHub', () => {
  test('an unchanged answer is 304 and costs nothing', async () => {
    const first = await get('/user', alice.token);
    expect(first.headers.get('x-ratelimit-remaining')).toBe('4999');
    expect(first.headers.get('x-github-request-id')).toMatch(/^[0-9A-F:]+$/);
    expect(first.headers.get('server')).toContain('stand-in');
    const again = await get('/user', alice.token, { 'if-none-match': first.headers.get('etag')! });
    expect(again.status).toBe(304);
    expect(again.headers.get('x-ratelimit-remaining')).toBe('4999');
    await github.admin.renameUser('alice', 'alice-new');
    const renamed = await get('/user', alice.token, { 'if-none-match': first.headers.get('etag')! });
    expect(renamed.status).toBe(200);
    expect(renamed.body).toMatchObject({ id: 583231, login: 'alice-new' });
  });

  test('an App is known by its key, its id and a short life only', async () => {
    const other = await startGithub({ listen: '127.0.0.1:0' });
    await other.close();
    expect((await get('/app', await appJwt({}, other.appPrivateKey))).status).toBe(401);
    expect((await get('/app', await appJwt({ expiresIn: 3600 }))).status).toBe(401);
    expect((await get('/app', await appJwt({ issuer: '1' }))).status).toBe(404);
    expect((await get('/app', alice.token)).status).toBe(401);
  });

  test('an unknown API version and a caller without a name are refused', async () => {
    expect((await get('/user', alice.token, { 'x-github-api-version': '1999-01-01' })).status).toBe(400);
    expect((await fetch(`${github.url}/meta`, { headers: { 'user-agent': '' } })).status).toBe(403);
  });

  test('a start issues a new token and invalidates the previous one', async () => {
    await github.admin.setCodespaceState(alice.name, 'Shutdown');
    expect((await get(`/user/codespaces/${alice.name}`, alice.token)).body.state).toBe('Shutdown');
    const started = await github.admin.startCodespace(alice.name);
    expect((await get('/user', alice.token)).status).toBe(401);
    expect((await get(`/user/codespaces/${alice.name}`, started.token)).body.state).toBe('Available');
  });
});

describe('faults', () => {
  test('down drops the connection, on the named path only', async () => {
    await github.admin.setFault({ mode: 'down', path: '/user' });
    await expect(get('/user', alice.token)).rejects.toThrow();
    expect((await get('/meta')).status).toBe(200);
  });

  test('both rate limits have the headers that a caller must obey', async () => {
    await github.admin.setFault({ mode: 'rate-limited', resetSeconds: 60 });
    const primary = await get('/user', alice.token);
    expect(primary.status).toBe(403);
    expect(primary.headers.get('x-ratelimit-remaining')).toBe('0');
    await github.admin.setFault({ mode: 'secondary-limited', retryAfterSeconds: 7 });
    const secondary = await get('/user', alice.token);
    expect(secondary.status).toBe(429);
    expect(secondary.headers.get('retry-after')).toBe('7');
  });
});

test('a restart finds the state and the key again', async () => {
  const state = mkdtempSync(join(tmpdir(), 'meshpass-github-'));
  try {
    const first = await startGithub({ listen: '127.0.0.1:0', state });
    const at = { owner: 'alice', repository: 'acme/payments-api', tokenReadsCodespaces: true };
    const space = await first.admin.createCodespace(at);
    await first.close();
    const second = await startGithub({ listen: '127.0.0.1:0', state });
    expect(second.appPrivateKey).toBe(first.appPrivateKey);
    const response = await fetch(`${second.url}/user/codespaces/${space.name}`, {
      headers: { 'user-agent': 'test', authorization: `Bearer ${space.token}` },
    });
    expect(response.status).toBe(200);
    await second.close();
  } finally {
    rmSync(state, { recursive: true });
  }
});

test('without the admin API no client changes the state', async () => {
  const trial = await startGithub({ listen: '127.0.0.1:0', withoutAdmin: true });
  try {
    const headers = { 'user-agent': 'test' };
    expect((await fetch(`${trial.url}/_lab_only_admin/app`, { headers })).status).toBe(404);
  } finally {
    await trial.close();
  }
});
