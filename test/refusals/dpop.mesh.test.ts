/** Requests without the key that a session is bound to (RFC 9449). */
import type { AdversarialClient } from '@meshpass/lab/adversarial-client/drive';
import type { InvalidProof } from '@meshpass/lab/adversarial-client/invalid-proofs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { codespaceProof, type DataPath, enrolled, expectRefused, openDataPath } from '../mesh.ts';

let dataPath: DataPath;
let adversary: AdversarialClient;

beforeAll(async () => {
  dataPath = await openDataPath();
  adversary = dataPath.adversary();
  await enrolled(dataPath, adversary);
});
afterAll(() => dataPath?.close());

const now = () => Math.floor(Date.now() / 1000);
const elsewhere = 'https://evil.example/token';

const LIES: readonly (readonly [string, () => InvalidProof, string])[] = [
  ['is missing', () => ({ omit: true }), 'dpop_missing'],
  ['is for another method', () => ({ method: 'GET' }), 'dpop_mismatch'],
  ['is for another URL', () => ({ url: elsewhere }), 'dpop_mismatch'],
  ['is for the operator listener', () => ({ url: 'https://broker.meshpass.test:8443/admin' }), 'dpop_mismatch'],
  ['is too old', () => ({ iat: now() - 600 }), 'dpop_expired'],
  ['is from the future', () => ({ iat: now() + 600 }), 'dpop_expired'],
];

describe('an exchange is refused and audited if its DPoP proof', () => {
  it.each(LIES)('%s', async (_, faults, code) => {
    const answer = await adversary.as('new').enrol(codespaceProof(await dataPath.codespace()), faults());
    await expectRefused(dataPath, answer, { status: 400, error: 'invalid_dpop_proof', code });
  });

  it('has been used before', async () => {
    const client = adversary.as('twice');
    const jti = 'the-same';
    const form = { ...codespaceProof(await dataPath.codespace()) };
    await client.enrol({ ...form, subject_token: `ghu_${'a'.repeat(36)}` }, { jti });
    const answer = await client.enrol(form, { jti });
    await expectRefused(dataPath, answer, { status: 400, error: 'invalid_dpop_proof', code: 'dpop_replayed' });
  });
});

describe('a request of a session is refused and audited if its DPoP proof', () => {
  const session: readonly (readonly [string, () => InvalidProof, string])[] = [
    ...LIES,
    ['was not made with the key of the session', () => ({ otherKey: true }), 'dpop_key_mismatch'],
    ['is bound to no session token', () => ({ accessToken: null }), 'dpop_mismatch'],
    ['is bound to another session token', () => ({ accessToken: 'mps_other' }), 'dpop_mismatch'],
  ];
  it.each(session)('%s', async (_, faults, code) => {
    const refusal = { status: 401, error: 'invalid_dpop_proof', code };
    const certificate = await adversary.certificate('payments-dev', undefined, faults());
    await expectRefused(dataPath, certificate, { ...refusal, action: 'certificate.issue' });
    expect(certificate.headers['www-authenticate']).toBe('DPoP error="invalid_dpop_proof", algs="ES256"');
    await expectRefused(dataPath, await adversary.token(undefined, faults()), { ...refusal, action: 'token.issue' });
    if (code === 'dpop_mismatch' && faults().method === 'GET') return; // right for this one
    const services = await adversary.speak('GET', '/services', undefined, faults());
    await expectRefused(dataPath, services, { ...refusal, action: 'services.read' });
    const report = await adversary.speak('POST', '/session/refusals', { json: { refusals: [] } }, faults());
    await expectRefused(dataPath, report, { ...refusal, action: 'session.heartbeat' });
    const goodbye = await adversary.speak('DELETE', '/session', undefined, faults());
    await expectRefused(dataPath, goodbye, { ...refusal, action: 'session.close' });
  });

  it('has been used before', async () => {
    const jti = 'once';
    expect(await adversary.speak('GET', '/services', undefined, { jti })).toMatchObject({ status: 200 });
    const refusal = { status: 401, error: 'invalid_dpop_proof', code: 'dpop_replayed' };
    const again = await adversary.speak('GET', '/services', undefined, { jti });
    await expectRefused(dataPath, again, { ...refusal, action: 'services.read' });
    const elsewhere = await adversary.certificate('payments-dev', undefined, { jti });
    await expectRefused(dataPath, elsewhere, { ...refusal, action: 'certificate.issue' });
  });
});

describe('a session token', () => {
  it('is worth nothing to a thief without the key', async () => {
    const thief = dataPath.adversary('workspace-2');
    await thief.take({ sessionToken: (await adversary.show()).sessionToken });
    const refusal = { status: 401, error: 'invalid_dpop_proof', code: 'dpop_key_mismatch' };
    const row = await expectRefused(dataPath, await thief.certificate('payments-dev'), {
      ...refusal,
      action: 'certificate.issue',
    });
    // The audit log identifies the owner of the stolen token.
    expect(row).toMatchObject({ login: 'alice' });
    await expectRefused(dataPath, await thief.token(), { ...refusal, action: 'token.issue' });
    await expectRefused(dataPath, await thief.speak('DELETE', '/session'), { ...refusal, action: 'session.close' });
  });

  it('is refused if it is unknown, malformed, or missing', async () => {
    const stranger = adversary.as('stranger');
    for (const [sessionToken, code] of [
      [`mps_${'A'.repeat(43)}`, 'session_unknown'],
      ['mps_short', 'session_token_missing'],
      ['', 'session_token_missing'],
      [(await adversary.show()).identityToken!, 'session_token_missing'],
    ] as const) {
      await stranger.take({ sessionToken });
      const refusal = { status: 401, error: 'invalid_token', code, action: 'services.read' };
      await expectRefused(dataPath, await stranger.speak('GET', '/services'), refusal);
    }
  });

  it('is not accepted as a bearer token', async () => {
    const { sessionToken } = await adversary.show();
    const answer = await adversary.ask('GET', `${dataPath.meshpass.brokerUrl}/services`, {
      headers: { authorization: `Bearer ${sessionToken}` },
    });
    const refusal = { status: 401, error: 'invalid_token', code: 'session_token_missing', action: 'services.read' };
    await expectRefused(dataPath, answer, refusal);
  });

  it("is exchanged for the audiences that the access file lists, and never for the mesh's own", async () => {
    for (const audience of ['sts.example.com', 'meshpass', 'https://broker.meshpass.test:8443', 'istio-ca', '*']) {
      const refusal = { status: 400, error: 'invalid_target', code: 'audience_not_allowed', action: 'token.issue' };
      await expectRefused(dataPath, await adversary.token(audience), refusal);
    }
  });

  it('ends with its session', async () => {
    const ended = adversary.as('ended');
    await enrolled(dataPath, ended);
    expect(await ended.speak('DELETE', '/session')).toMatchObject({ status: 204 });
    const refusal = { status: 401, error: 'invalid_token', code: 'session_closed' };
    await expectRefused(dataPath, await ended.certificate('payments-dev'), { ...refusal, action: 'certificate.issue' });
    await expectRefused(dataPath, await ended.token(), { ...refusal, action: 'token.issue' });
    await expectRefused(dataPath, await ended.token('sts.amazonaws.com'), { ...refusal, action: 'token.issue' });
    const report = await ended.speak('POST', '/session/refusals', { json: { refusals: [] } });
    await expectRefused(dataPath, report, { ...refusal, action: 'session.heartbeat' });
    expect(await ended.renew()).toMatchObject({ kind: 'ended', cause: 'goodbye' });
  });
});

it('the honest session has lived through all of it', async () => {
  expect(await adversary.renew()).toMatchObject({ kind: 'lease' });
});

it('requests for operators or edges only are refused to a session, and audited', async () => {
  const close = await adversary.speak('POST', '/admin/sessions/close', { json: { subject: 'github:583231' } });
  expect(close).toMatchObject({ status: 404, json: { error_code: 'not_found' } });
  const refusal = { status: 401, error: 'invalid_token' };
  const stream = await adversary.speak('GET', '/edge/stream');
  await expectRefused(dataPath, stream, { ...refusal, code: 'edge_unauthorized', action: 'edge.stream' });
  const audit = await fetch(`${dataPath.meshpass.operatorUrl}/audit`, { headers: { authorization: 'Bearer wrong' } });
  expect({ status: audit.status, body: await audit.json() }).toMatchObject({
    status: 401,
    body: { error_code: 'operator_unauthorized' },
  });
});

it('no audit row and no line of the log holds a token', () => dataPath.expectNoSecretKept());
