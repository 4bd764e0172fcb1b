/** ID tokens that must not open a session: through the real broker, to the real audit log. */

import type { AdversarialClient } from '@meshpass/lab/adversarial-client/drive';
import { FORGERIES } from '@meshpass/lab/oidc/forge';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FORGERY_CODES } from '../../packages/broker/test/attest/oidc/forgery-codes.ts';
import { type DataPath, expectRefused, ID_TOKEN_PROOF, idTokenProof, openDataPath } from '../mesh.ts';

const BOB = '00u2bob';

let dataPath: DataPath;
let adversary: AdversarialClient;

beforeAll(async () => {
  dataPath = await openDataPath();
  adversary = dataPath.adversary();
});
afterAll(() => dataPath?.close());

/** A huge token is refused before it is read. */
const CODES = { ...FORGERY_CODES, huge: 'request_too_large' };

describe('an ID token is refused and audited if it is', () => {
  it.each(FORGERIES)('%s', async (forgery) => {
    const token = await dataPath.idp.idToken({ subject: BOB, forgery, attackerUrl: 'https://idp.test:8443/attacker' });
    dataPath.secret(token);
    const status = forgery === 'huge' ? 413 : 400;
    const answer = await adversary.enrol(idTokenProof(token));
    await expectRefused(dataPath, answer, { status, error: 'invalid_request', code: CODES[forgery] });
  });

  it.each(['alg-none', 'wrong-audience', 'expired', 'other-key-known-kid'] as const)(
    '%s, in the name of GitHub Actions',
    async (forgery) => {
      const token = dataPath.secret(await dataPath.actions.idToken({ audience: 'meshpass', forgery }));
      const answer = await adversary.enrol(idTokenProof(token));
      await expectRefused(dataPath, answer, { status: 400, error: 'invalid_request', code: CODES[forgery] });
    },
  );

  it('meant for another audience of the same issuer of GitHub Actions', async () => {
    const token = dataPath.secret(await dataPath.actions.idToken({ audience: 'sts.amazonaws.com' }));
    const answer = await adversary.enrol(idTokenProof(token));
    await expectRefused(dataPath, answer, { status: 400, error: 'invalid_request', code: 'proof_audience' });
  });

  it('longer than a proof may be', async () => {
    const padding = 'x'.repeat(20_000);
    const token = dataPath.secret(await dataPath.idp.idToken({ subject: BOB, claims: { padding } }));
    const answer = await adversary.enrol(idTokenProof(token));
    await expectRefused(dataPath, answer, { status: 413, error: 'invalid_request', code: 'proof_too_large' });
  });

  it('presented as a proof of another kind', async () => {
    const token = dataPath.secret(await dataPath.idp.idToken({ subject: BOB }));
    const form = { subject_token_type: 'urn:ietf:params:oauth:token-type:saml2', subject_token: token };
    const refusal = { status: 400, error: 'invalid_request', code: 'proof_type_unsupported' };
    await expectRefused(dataPath, await adversary.enrol(form), refusal);
  });

  it('valid, of a person without a grant', async () => {
    const token = dataPath.secret(await dataPath.idp.idToken({ subject: '00u1alice' }));
    const answer = await adversary.enrol(idTokenProof(token));
    const row = await expectRefused(dataPath, answer, { status: 403, error: 'invalid_request', code: 'access_none' });
    expect(row).toMatchObject({ subject: 'okta:00u1alice', login: 'alice' });
  });
});

it('an issuer is never asked for keys at a place that a token names', async () => {
  const asked = await dataPath.idp.requests();
  expect(asked).toContain('GET /jwks');
  expect(asked.filter((one) => one.includes('attacker'))).toEqual([]);
});

it('none of these tokens opened a session or made a ServiceAccount', async () => {
  const rows = await dataPath.audit();
  expect(rows.filter((row) => row.action === 'session.open' && row.outcome !== 'refused')).toEqual([]);
  expect(await dataPath.accounts()).toEqual([]);
});

it('a token is good once', async () => {
  const token = dataPath.secret(await dataPath.idp.idToken({ subject: BOB, claims: { jti: 'once' } }));
  const first = await adversary.enrol(idTokenProof(token));
  expect(first).toMatchObject({ status: 200, json: { token_type: 'DPoP' } });
  dataPath.secret((await adversary.show()).sessionToken);
  const refusal = { status: 400, error: 'invalid_request', code: 'proof_replayed' };
  await expectRefused(dataPath, await adversary.as('other').enrol(idTokenProof(token)), refusal);
  const again = await dataPath.idp.idToken({ subject: BOB, claims: { jti: 'once', n: 2 } });
  await expectRefused(dataPath, await adversary.as('other').enrol(idTokenProof(dataPath.secret(again))), refusal);
});

describe('a form is refused and audited if it', () => {
  const base = { subject_token_type: ID_TOKEN_PROOF, subject_token: 'x.y.z' };
  it.each([
    ['asks for another grant type', { ...base, grant_type: 'client_credentials' }, 'grant_type_unsupported'],
    ['has no token', { subject_token_type: ID_TOKEN_PROOF }, 'request_malformed'],
    ['has no type of token', { subject_token: 'x.y.z' }, 'request_malformed'],
    ['brings an actor', { ...base, actor_token: 'x', actor_token_type: 'y' }, 'request_malformed'],
    ['asks for a scope', { ...base, scope: 'everything' }, 'request_malformed'],
    ['asks for a resource', { ...base, resource: 'https://orders.shop' }, 'request_malformed'],
    ['asks for an audience of a proof', { ...base, audience: 'sts.amazonaws.com' }, 'request_malformed'],
  ])('%s', async (_, form: Record<string, string>, code) => {
    const error = code === 'grant_type_unsupported' ? 'unsupported_grant_type' : 'invalid_request';
    await expectRefused(dataPath, await adversary.enrol(form), { status: 400, error, code });
  });
});

it('no audit row and no line of the log holds a token that was presented', () => dataPath.expectNoSecretKept());
