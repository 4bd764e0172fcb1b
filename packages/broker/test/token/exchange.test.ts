import { join } from 'node:path';
import { SessionResponse } from '@meshpass/identity/wire';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readStore } from '../harness/audit.ts';
import {
  dpop,
  EXCHANGE,
  enrol,
  FORM,
  form,
  type Harness,
  ID_TOKEN,
  newKey,
  OPERATOR_TOKEN,
  startHarness,
} from '../harness/broker.ts';
import { grant } from '../harness/mesh.ts';

const members = (proof: string) => ({ grant_type: EXCHANGE, subject_token: proof, subject_token_type: ID_TOKEN });

describe('POST /token with a proof', () => {
  let harness: Harness;
  const decisions: { id: string; code: string; outcome: string }[] = [];

  beforeAll(async () => {
    harness = await startHarness();
    harness.mesh.setAccess([grant('payments-dev', ['idp:alice', 'idp:renamed'])]);
  });
  afterAll(async () => {
    await harness.broker.close();
    const { audit } = await readStore({ dataDir: join(harness.dir, 'data') });
    for (const { id, code, outcome } of decisions)
      expect(audit.find((row) => row.id === id)).toMatchObject({ outcome, code: code || null });
    expect(JSON.stringify(audit)).not.toMatch(/mps_[\w-]{20}|eyJ[\w-]{10,}\.[\w-]{10}/);
    await harness.stop();
  });

  const post = (body: string, headers: Record<string, string | string[]> = {}) =>
    harness.call({
      method: 'POST',
      path: '/token',
      headers: { ...FORM, dpop: dpop({ key: newKey(), now: harness.now() }), ...headers },
      body,
    });

  /** A refusal has a row in the audit log with the same id and code. */
  const refused = (answer: Awaited<ReturnType<typeof post>>, status: number, error: string, code: string) => {
    expect(answer.json).toMatchObject({ error, error_code: code });
    expect(answer.status).toBe(status);
    decisions.push({ id: answer.json.decision_id, code, outcome: 'refused' });
  };

  it('opens a session bound to the key of the DPoP proof', async () => {
    const answer = await enrol(harness, 'alice');
    expect(answer.status).toBe(200);
    expect(answer.headers['cache-control']).toBe('no-store');
    const session = SessionResponse.parse(answer.json);
    expect(session).toMatchObject({
      issued_token_type: 'urn:ietf:params:oauth:token-type:access_token',
      session: { subject: 'idp:alice', login: 'alice', grants: ['payments-dev'] },
      services: [{ grant: 'payments-dev', host: 'orders.shop.svc.cluster.local', port: 8080 }],
    });
    expect(session.access_token).toMatch(/^mps_[A-Za-z0-9_-]{43}$/);
  });

  it('refuses a subject whom no grant names, and audits why', async () => {
    const answer = await enrol(harness, 'mallory');
    refused(answer, 403, 'invalid_request', 'access_none');
  });

  it('refuses a subject of more grants than an agent takes in an answer', async () => {
    const grants = Array.from({ length: 33 }, (_, n) => grant(`many-${n}`, ['idp:alice']));
    harness.mesh.setAccess(grants);
    const answer = await enrol(harness, 'alice');
    harness.mesh.setAccess(grants.slice(1));
    const fewer = await enrol(harness, 'alice');
    harness.mesh.setAccess([grant('payments-dev', ['idp:alice', 'idp:renamed'])]);
    refused(answer, 403, 'invalid_request', 'access_none');
    expect(answer.json.error_description).toMatch(
      /^33 grants .* apply to you, but a session can have at most 32\. Ask the file's owners/,
    );
    expect(SessionResponse.parse(fewer.json).session.grants).toHaveLength(32);
  });

  it('refuses a proof that was used before, even two at the same time', async () => {
    const proof = await harness.idp.prove('alice');
    const answers = await Promise.all([1, 2, 3].map(() => enrol(harness, 'alice', newKey(), proof)));
    expect(answers.map((answer) => answer.status).sort()).toEqual([200, 400, 400]);
    for (const answer of answers.filter((one) => one.status !== 200))
      refused(answer, 400, 'invalid_request', 'proof_replayed');
    refused(await enrol(harness, 'alice', newKey(), proof), 400, 'invalid_request', 'proof_replayed');
  });

  it('refuses a proof that its issuer has not signed', async () => {
    const proof = await harness.idp.prove('alice');
    refused(
      await enrol(harness, 'alice', newKey(), `${proof.slice(0, -8)}AAAAAAAA`),
      400,
      'invalid_request',
      'proof_signature',
    );
  });

  it('refuses a grant type that is not token exchange', async () => {
    const body = form({ ...members('x'), grant_type: 'client_credentials' });
    refused(await post(body), 400, 'unsupported_grant_type', 'grant_type_unsupported');
  });

  it.each([
    ['no grant_type', (m: Record<string, string>) => form({ ...m, grant_type: '' })],
    ['no subject_token', (m: Record<string, string>) => form({ ...m, subject_token: '' })],
    ['no subject_token_type', (m: Record<string, string>) => form({ ...m, subject_token_type: '' })],
    ['a parameter twice', (m: Record<string, string>) => `${form(m)}&subject_token=again`],
    ['an actor token', (m: Record<string, string>) => form({ ...m, actor_token: 'x' })],
    ['a resource', (m: Record<string, string>) => form({ ...m, resource: 'https://x' })],
    ['a scope', (m: Record<string, string>) => form({ ...m, scope: 'openid' })],
    ['an audience', (m: Record<string, string>) => form({ ...m, audience: 'sts.amazonaws.com' })],
    ['an empty body', () => ''],
    [
      'a requested type other than a session',
      (m: Record<string, string>) => form({ ...m, requested_token_type: ID_TOKEN }),
    ],
    [
      'a presence listener beside the answer to a challenge',
      (m: Record<string, string>) =>
        form({ ...m, presence_listener: '47000', presence_nonce: 'a'.repeat(43), presence_port: '47000' }),
    ],
    ['a presence listener of the system', (m: Record<string, string>) => form({ ...m, presence_listener: '443' })],
    [
      'a presence listener that is part of a name',
      (m: Record<string, string>) => form({ ...m, presence_listener: '4700.evil.example' }),
    ],
    ['a presence port without a nonce', (m: Record<string, string>) => form({ ...m, presence_port: '47000' })],
    ['a nonce without a presence port', (m: Record<string, string>) => form({ ...m, presence_nonce: 'a'.repeat(43) })],
    [
      'a presence port that is part of a name',
      (m: Record<string, string>) => form({ ...m, presence_nonce: 'a', presence_port: '4700.evil.example' }),
    ],
    [
      'a presence port of the system',
      (m: Record<string, string>) => form({ ...m, presence_nonce: 'a', presence_port: '22' }),
    ],
    ['a parameter that is too long', (m: Record<string, string>) => form({ ...m, audience: 'a'.repeat(2_000) })],
  ])('refuses %s', async (_what, body) => {
    refused(await post(body(members(await harness.idp.prove('alice')))), 400, 'invalid_request', 'request_malformed');
  });

  it('refuses a subject token type that it does not know', async () => {
    const body = form({ ...members('x'), subject_token_type: 'urn:ietf:params:oauth:token-type:saml2' });
    refused(await post(body), 400, 'invalid_request', 'proof_type_unsupported');
  });

  it.each(['application/json', 'text/plain', 'application/x-www-form-urlencoded; charset=utf-16'])(
    'refuses the content type %s',
    async (type) => {
      const body = form(members(await harness.idp.prove('alice')));
      refused(await post(body, { 'content-type': type }), 400, 'invalid_request', 'request_malformed');
    },
  );

  it('refuses a proof of more than 16 KiB and a body of 1 MB, before looking at them', async () => {
    refused(await post(form(members('a'.repeat(20_000)))), 413, 'invalid_request', 'proof_too_large');
    const answer = await post(form(members('a'.repeat(1_000_000))));
    refused(answer, 413, 'invalid_request', 'request_too_large');
  });

  it('bounds a body without a length', async () => {
    const answer = await post(form(members('a'.repeat(200_000))), { 'transfer-encoding': 'chunked' });
    refused(answer, 413, 'invalid_request', 'request_too_large');
  });

  it('refuses text that a database cannot hold, and has a row that it can', async () => {
    const proof = await harness.idp.prove('renamed', {
      login: 'nul\u0000and-half\ud800',
      workspace: 'codespace:\u0000',
    });
    const answer = await enrol(harness, 'renamed', newKey(), proof);
    expect([answer.status, answer.json.error_code]).toEqual([400, 'proof_unprintable']);
    const { json } = await harness.operatorCall({
      path: `/audit?decision=${answer.json.decision_id}`,
      headers: { authorization: `Bearer ${OPERATOR_TOKEN}` },
    });
    // Its issuer has confirmed who it is: the refusal is not one of a stranger.
    const known = { issuer: 'idp', subject: 'idp:renamed', login: expect.stringContaining('nul') };
    expect(json.rows).toMatchObject([{ outcome: 'refused', code: 'proof_unprintable', ...known }]);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: none of them may be there
    expect(json.rows[0].login + json.rows[0].workspace).not.toMatch(/[\u0000-\u001f\ud800]/);
  });

  it('answers 404 for an unknown route, in the same form', async () => {
    const answer = await harness.call({ path: '/nothing' });
    expect(answer.status).toBe(404);
    expect(answer.json).toMatchObject({ error_code: 'not_found' });
  });

  it('publishes discovery and keys for AWS and others', async () => {
    const discovery = await harness.call({ path: '/.well-known/openid-configuration' });
    expect(discovery.json).toMatchObject({ issuer: 'https://broker.example', jwks_uri: 'https://broker.example/jwks' });
    const jwks = await harness.call({ path: '/jwks' });
    // The one that signs, and the next one.
    expect(jwks.json.keys).toHaveLength(2);
    for (const key of jwks.json.keys) {
      expect(key).toMatchObject({ kty: 'RSA', alg: 'RS256', use: 'sig' });
      expect(key.d).toBeUndefined();
    }
  });
});
