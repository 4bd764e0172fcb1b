/** `POST /kubernetes/token`: the sessions that get a token for the API server, their limit, and the audit rows. */
import { randomUUID } from 'node:crypto';
import { MeshpassError } from '@meshpass/identity';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createKubernetesTokens } from '../../src/mesh/kubernetes/service-account-tokens.ts';
import {
  type Answer,
  asSession,
  dpop,
  type Enrolled,
  type Harness,
  OPERATOR_TOKEN,
  session,
  startHarness,
} from '../harness/broker.ts';
import { grant } from '../harness/mesh.ts';

let harness: Harness;
let requested: { namespace: string; name: string; audience: string }[];
/** Awaited before Kubernetes answers. */
let beforeAnswer: () => Promise<unknown>;
let answer: () => string | undefined;
let tokens: string[];

const EXPIRES = 2_000_000_000;
function serviceAccountToken(): string {
  const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const token = `${part({ alg: 'RS256' })}.${part({ exp: EXPIRES, jti: randomUUID() })}.${part('signature')}`;
  tokens.push(token);
  return token;
}

beforeEach(async () => {
  requested = [];
  tokens = [];
  beforeAnswer = async () => {};
  answer = serviceAccountToken;
  const requestToken = async (of: { namespace: string; name: string }, audience: string) => {
    requested.push({ ...of, audience });
    await beforeAnswer();
    return answer();
  };
  const parts = () => ({
    kubernetesTokens: createKubernetesTokens({ requestToken }, 'https://kubernetes.default.svc', 'CA'),
  });
  harness = await startHarness({ parts });
  harness.mesh.setAccess([grant('dev'), grant('ops')]);
  harness.mesh.roles.set('dev', ['shop']);
});
afterEach(async () => {
  await harness.stop();
});

function ask(who: Enrolled, name: string): Promise<Answer> {
  return asSession(harness, who, {
    method: 'POST',
    path: '/kubernetes/token',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ grant: name }),
  });
}

interface Row {
  readonly action: string;
  readonly detail: string | null;
}

async function rowsOf(action: string): Promise<readonly Row[]> {
  const headers = { authorization: `Bearer ${OPERATOR_TOKEN}` };
  const { json } = await harness.operatorCall({ path: '/audit?after=0&limit=1000', headers });
  return (json.rows as Row[]).filter((row) => row.action === action);
}

describe('a session whose grant has roles', () => {
  it('is told so, and gets a token of its own ServiceAccount for the API server only', async () => {
    const ann = await session(harness, 'ann');
    expect(ann.kubernetes).toEqual({ certificate_authority: 'CA', grants: [{ grant: 'dev', namespaces: ['shop'] }] });
    expect((await asSession(harness, ann, { path: '/services' })).json.kubernetes).toEqual(ann.kubernetes);
    const { status, json } = await ask(ann, 'dev');
    expect({ status, json }).toEqual({ status: 200, json: { token: tokens[0], expires_at: EXPIRES } });
    const account = expect.stringMatching(/^[a-z0-9-]+$/);
    expect(requested).toEqual([
      { namespace: 'meshpass-dev', name: account, audience: 'https://kubernetes.default.svc' },
    ]);
    const [row] = await rowsOf('kubernetes.token');
    expect(row).toMatchObject({
      outcome: 'allowed',
      session_id: ann.session.id,
      grant_name: 'dev',
      target: `system:serviceaccount:meshpass-dev:${requested[0]!.name}`,
    });
    expect(JSON.parse(row!.detail!)).toEqual({
      exp: EXPIRES,
      credentialId: expect.stringMatching(/^JTI=[0-9a-f-]{36}$/),
    });
  });

  it('gets so many, and then no more for a while', async () => {
    const [ann, bob] = [await session(harness, 'ann'), await session(harness, 'bob')];
    for (let count = 0; count < 10; count++) expect((await ask(ann, 'dev')).status).toBe(200);
    expect(await ask(ann, 'dev')).toMatchObject({ status: 429, json: { error_code: 'too_many_attempts' } });
    expect(requested).toHaveLength(10);
    expect((await ask(bob, 'dev')).status, 'another session').toBe(200);
    harness.clockAhead += 31_000;
    expect((await ask(ann, 'dev')).status).toBe(200);
  });

  it.each([
    ['ends', (who: Enrolled) => asSession(harness, who, { method: 'DELETE', path: '/session' }), 401, 'session_closed'],
    ['loses the grant', async () => harness.mesh.setAccess([grant('ops')]), 403, 'grant_unknown'],
    ['loses the roles', async () => harness.mesh.roles.clear(), 403, 'kubernetes_not_granted'],
  ])('gets nothing if it %s while Kubernetes answers', async (_, lose, status, code) => {
    const ann = await session(harness, 'ann');
    beforeAnswer = () => lose(ann);
    expect(await ask(ann, 'dev')).toMatchObject({ status, json: { error_code: code } });
    expect(requested).toHaveLength(1);
  });
});

describe('the broker issues no token', () => {
  it.each([
    ['a grant without roles', 'ops', 403, 'kubernetes_not_granted'],
    ['a grant that it does not have', 'payments', 403, 'grant_unknown'],
    ['the name of a namespace', 'meshpass-dev', 403, 'grant_unknown'],
    ['no name', '', 400, 'request_malformed'],
  ])('for %s', async (_, name, status, code) => {
    const ann = await session(harness, 'ann');
    expect(await ask(ann, name)).toMatchObject({ status, json: { error_code: code } });
    expect(requested).toEqual([]);
    expect(await rowsOf('kubernetes.token')).toMatchObject([{ outcome: 'refused', code, session_id: ann.session.id }]);
  });

  it('to a foreign key, a replayed proof, and a proof for another path', async () => {
    const [ann, bob] = [await session(harness, 'ann'), await session(harness, 'bob')];
    const proof = dpop({ key: ann.key, path: '/kubernetes/token', now: harness.now(), accessToken: ann.access_token });
    const call = (accessToken: string, one: string) =>
      harness.call({
        method: 'POST',
        path: '/kubernetes/token',
        body: '{"grant":"dev"}',
        headers: { 'content-type': 'application/json', authorization: `DPoP ${accessToken}`, dpop: one },
      });
    expect((await call(ann.access_token, proof)).status).toBe(200);
    expect((await call(ann.access_token, proof)).json.error_code).toBe('dpop_replayed');
    const foreign = dpop({
      key: bob.key,
      path: '/kubernetes/token',
      now: harness.now(),
      accessToken: ann.access_token,
    });
    expect((await call(ann.access_token, foreign)).json.error_code).toBe('dpop_key_mismatch');
    const elsewhere = dpop({ key: ann.key, path: '/certificates', now: harness.now(), accessToken: ann.access_token });
    expect((await call(ann.access_token, elsewhere)).json.error_code).toBe('dpop_mismatch');
    expect(requested).toHaveLength(1);
  });

  it('before the ServiceAccount exists, or while Kubernetes is unavailable', async () => {
    const ann = await session(harness, 'ann');
    answer = () => undefined;
    expect(await ask(ann, 'dev')).toMatchObject({ status: 503, json: { error_code: 'kubernetes_unavailable' } });
    answer = () => {
      throw new MeshpassError('kubernetes_unavailable', 'Kubernetes does not answer.');
    };
    expect(await ask(ann, 'dev')).toMatchObject({ status: 503 });
    answer = () => 'no token';
    const odd = await ask(ann, 'dev');
    expect(odd).toMatchObject({ status: 503 });
    expect(odd.text + harness.log.join()).not.toContain('no token"');
  });
});

it('keeps no token in log or audit log', async () => {
  const ann = await session(harness, 'ann');
  await ask(ann, 'dev');
  const kept = harness.log.join('\n') + JSON.stringify(await rowsOf('kubernetes.token'));
  for (const part of tokens[0]!.split('.').slice(1)) expect(kept).not.toContain(part);
});

it('reports that kubectl is off if the broker issues no tokens, regardless of the access file', async () => {
  await harness.stop();
  harness = await startHarness();
  harness.mesh.setAccess([grant('dev')]);
  const ann = await session(harness, 'ann');
  expect(await ask(ann, 'dev')).toMatchObject({ status: 403, json: { error_code: 'kubernetes_off' } });
  expect(await rowsOf('kubernetes.token')).toMatchObject([{ outcome: 'refused', code: 'kubernetes_off' }]);
});
