/** Tokens of operators: which ones the broker accepts, and how they end although it stores none. */
import { generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { decodeJwt, decodeProtectedHeader, type JWTHeaderParameters, type JWTPayload, SignJWT } from 'jose';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { OPERATOR_TOKEN, operatorTokenIssuer } from '../../src/admin/operator/operator-token.ts';
import { parseKeys } from '../../src/core/token/key-ring.ts';
import { type Harness, newKey, PUBLIC_URL, startHarness } from '../harness/broker.ts';
import { grant } from '../harness/mesh.ts';
import {
  asOperator,
  codeOf,
  confirmSignIn,
  operatorsByGroup,
  refreshedIdToken,
  type SignedIn,
  signIn,
} from '../harness/operators.ts';

let harness: Harness;
beforeAll(async () => {
  harness = await startHarness();
  harness.mesh.setAccess([grant('dev')]);
});
afterAll(() => harness?.stop());
beforeEach(() => harness.mesh.setOperators(operatorsByGroup()));

const path = '/operator/session';
const close = (by: SignedIn, selected: { readonly id?: string; readonly subject?: string; readonly reason: string }) =>
  asOperator(harness, by, { method: 'POST', path: '/operator/sessions/close', body: JSON.stringify(selected) });
const renew = async (who: SignedIn, subject: string) =>
  (await confirmSignIn(harness, who, refreshedIdToken(harness, subject, ['viewer']))).json.error_code ?? 'renewed';

/** Signs a token as the broker does, with its own key, except for what a test changes. */
async function signed(
  token: string,
  claims: JWTPayload = {},
  header: Partial<JWTHeaderParameters> = {},
  key = parseKeys(readFileSync(join(harness.dir, 'data', 'signing-key.pem'), 'utf8')).signing.privateKey,
): Promise<string> {
  const original = decodeProtectedHeader(token) as JWTHeaderParameters;
  return await new SignJWT({ ...decodeJwt(token), ...claims }).setProtectedHeader({ ...original, ...header }).sign(key);
}

describe('a token of an operator', () => {
  it('names its own type, issuer and audience, the key of the command, and five minutes', async () => {
    const { token } = await signIn(harness, 'nina', ['viewer']);
    expect(decodeProtectedHeader(token)).toMatchObject({ alg: 'RS256', typ: OPERATOR_TOKEN });
    const { iss, aud, iat, exp, cnf } = decodeJwt(token);
    expect([iss, aud]).toEqual([`${PUBLIC_URL}/operator`, [`${PUBLIC_URL}/operator`]]);
    expect(exp! - iat!).toBeLessThanOrEqual(300);
    expect(cnf).toEqual({ jkt: expect.stringMatching(/^[\w-]{43}$/) });
    // The control of the refusals below.
    const who = await signIn(harness, 'nina', ['viewer']);
    expect(await codeOf(harness, { ...who, token: await signed(who.token) })).toBe('signed in');
  });

  const refusals: readonly [string, (token: string) => Promise<string>][] = [
    [
      'that another key signed',
      (token) => signed(token, {}, {}, generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey),
    ],
    ['of an unknown key id', (token) => signed(token, {}, { kid: 'x' })],
    ['with the type of identity tokens', (token) => signed(token, {}, { typ: 'JWT' })],
    ['with the type of an access token', (token) => signed(token, {}, { typ: 'at+jwt' })],
    ['without a type', (token) => signed(token, {}, { typ: undefined })],
    ['of another algorithm', (token) => signed(token, {}, { alg: 'PS256' })],
    ['of another audience', (token) => signed(token, { aud: [PUBLIC_URL] })],
    ['without an audience', (token) => signed(token, { aud: undefined })],
    ['of the issuer of identity tokens', (token) => signed(token, { iss: PUBLIC_URL })],
    ['without an expiry', (token) => signed(token, { exp: undefined })],
    ['bound to no key', (token) => signed(token, { cnf: undefined })],
    [
      'without a signature',
      async (token) => `${Buffer.from('{"alg":"none"}').toString('base64url')}.${token.split('.')[1]}.AA`,
    ],
    [
      'whose claims were changed',
      async (token) => token.replace(/\.[^.]+\./, `.${Buffer.from('{}').toString('base64url')}.`),
    ],
  ];
  it.each(refusals)('is refused: one %s', async (_, change) => {
    const who = await signIn(harness, 'olga', ['viewer']);
    expect(await codeOf(harness, { ...who, token: await change(who.token) })).toBe('operator_session_ended');
    expect(await codeOf(harness, who)).toBe('signed in');
  });

  it('is refused with another key, and after it has expired', async () => {
    const who = await signIn(harness, 'pia', ['viewer']);
    expect(await codeOf(harness, { ...who, key: newKey() })).toBe('dpop_key_mismatch');
    harness.clockAhead += 301_000;
    expect(await codeOf(harness, who)).toBe('operator_unconfirmed');
    expect(await renew(who, 'pia')).toBe('renewed');
    expect(await codeOf(harness, who)).toBe('signed in');
    harness.clockAhead += 3_600_000;
    expect(await renew(who, 'pia')).toBe('operator_session_ended');
  });

  it('expires with its session', async () => {
    harness.mesh.setOperators(operatorsByGroup({ session: 400 }));
    const who = await signIn(harness, 'quin', ['viewer']);
    harness.clockAhead += 250_000;
    expect(await renew(who, 'quin')).toBe('renewed');
    expect(decodeJwt(who.token).exp! - harness.now()).toBeLessThanOrEqual(150);
  });

  it('has the claims of a long ID token', async () => {
    const groups = ['viewer', ...Array.from({ length: 150 }, (_, n) => `group-${n}-${'x'.repeat(50)}`)];
    const who = await signIn(harness, 'lola', ['viewer']);
    const { status } = await confirmSignIn(harness, who, refreshedIdToken(harness, 'lola', groups));
    expect([status, who.token.length > 12_000]).toEqual([200, true]);
    expect(await codeOf(harness, who)).toBe('signed in');
  });
});

describe('a session that the broker has not seen', () => {
  const unseen = async (subject: string) => {
    const who = await signIn(harness, subject, ['viewer']);
    await harness.restart();
    return who;
  };
  const idOf = ({ token }: SignedIn) => String(decodeJwt(token).sid);

  it('continues after a restart, is renewed there, and is listed after a request', async () => {
    const who = await unseen('rosa');
    const admin = await signIn(harness, 'admin', ['admin']);
    const listed = async () => {
      const { json } = await asOperator(harness, admin, { path: '/operator/sessions' });
      return json.sessions.map(({ id }: { id: string }) => id);
    };
    expect(await listed()).not.toContain(idOf(who));
    expect(await renew(who, 'rosa')).toBe('renewed');
    expect(await listed()).toContain(idOf(who));
  });

  it.each([
    ['subject', (who: SignedIn) => ({ subject: who.subject })],
    ['id', (who: SignedIn) => ({ id: idOf(who) })],
  ])(
    'has ended after an operator closes it by its %s, also after a restart, and is not renewed',
    async (by, selected) => {
      const subject = `sven-${by}`;
      const who = await unseen(subject);
      const admin = await signIn(harness, 'admin', ['admin']);
      expect((await close(admin, { ...selected(who), reason: 'left' })).status).toBe(200);
      expect([await codeOf(harness, who), await renew(who, subject)]).toEqual(Array(2).fill('operator_session_ended'));
      await harness.restart();
      expect([await codeOf(harness, who), await renew(who, subject)]).toEqual(Array(2).fill('operator_session_ended'));
      expect(await codeOf(harness, await signIn(harness, subject, ['viewer']))).toBe('signed in');
    },
  );

  it('has ended after a logout, also after a restart, and is not renewed', async () => {
    const who = await unseen('tara');
    expect((await asOperator(harness, who, { method: 'DELETE', path })).status).toBe(204);
    expect(await renew(who, 'tara')).toBe('operator_session_ended');
    await harness.restart();
    expect(await renew(who, 'tara')).toBe('operator_session_ended');
  });
});

it('a revocation of the signing keys signs operators out', async () => {
  const [admin, other] = [await signIn(harness, 'ada', ['admin']), await signIn(harness, 'uma', ['viewer'])];
  const body = JSON.stringify({ revoke: true, reason: 'stolen' });
  const done = await asOperator(harness, admin, { method: 'POST', path: '/admin/trust/rotate', body });
  expect(done.json).toMatchObject({ dropped: [expect.any(String)], signing_keys: [{}, {}], roots: {} });
  expect([await codeOf(harness, admin), await codeOf(harness, other)]).toEqual(Array(2).fill('operator_session_ended'));
  expect(await codeOf(harness, await signIn(harness, 'ada', ['admin']))).toBe('signed in');
});

it('an operator token belongs to the broker that signed it', () => {
  expect(operatorTokenIssuer('https://a.example')).not.toBe(operatorTokenIssuer('https://b.example'));
});
