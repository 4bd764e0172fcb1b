/** Back-channel logout of operators: an issuer reports that a person has signed out, and their operator sessions end. */
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { FORM, form, type Harness, newKey } from '../harness/broker.ts';
import {
  asOperator,
  codeOf,
  exchange,
  OPERATOR_CLIENT,
  operatorsByGroup,
  personClaims,
  type SignedIn,
  startWithLogouts,
} from '../harness/operators.ts';
import { LOGOUT } from '../harness/sign-in.ts';

let harness: Harness;
beforeAll(async () => {
  harness = await startWithLogouts();
});
afterAll(() => harness?.stop());
beforeEach(() => harness.mesh.setOperators(operatorsByGroup()));

async function signedIn(subject: string, sid?: string): Promise<SignedIn> {
  const key = newKey();
  const answer = await exchange(harness, subject, ['admin'], { key, claims: { ...(sid && { sid }) } });
  expect(answer.status, answer.text).toBe(200);
  return { key, token: answer.json.access_token, subject: `idp:${subject}` };
}

function logoutToken(subject: string, more: object = {}): Promise<string> {
  const now = harness.now();
  const claims = { aud: OPERATOR_CLIENT, iat: now, exp: now + 120, events: { [LOGOUT]: {} }, ...more };
  return harness.idp.prove(subject, claims);
}

function send(token: string) {
  const path = '/sign-in/backchannel-logout/idp';
  return harness.call({ method: 'POST', path, headers: FORM, body: form({ logout_token: token }) });
}

const logout = async (subject: string, more: object = {}) => send(await logoutToken(subject, more));

it("ends all of that person's sessions and no others, and the audit log says why", async () => {
  const [one, two, other] = [await signedIn('mona'), await signedIn('mona', 'a'), await signedIn('olga')];
  expect((await logout('mona')).status).toBe(204);
  expect(await Promise.all([one, two, other].map((who) => codeOf(harness, who)))).toEqual([
    'operator_session_ended',
    'operator_session_ended',
    'signed in',
  ]);
  const { json } = await asOperator(harness, other, { path: '/audit?last=20' });
  const row = json.rows.find((each: { action: string }) => each.action === 'operator.sign-out');
  expect(row).toMatchObject({ outcome: 'ended', subject: 'idp:mona' });
  expect(JSON.parse(row.detail)).toEqual({ cause: 'signed_out', closed: [expect.any(String), expect.any(String)] });
});

it("ends only the sessions of the issuer's session that it names", async () => {
  const [one, two] = [await signedIn('nora', 'a'), await signedIn('nora', 'b')];
  expect((await logout('nora', { sid: 'a' })).status).toBe(204);
  expect([await codeOf(harness, one), await codeOf(harness, two)]).toEqual(['operator_session_ended', 'signed in']);
});

it('ends the right ones even if the issuer has long names for its sessions', async () => {
  const long = 's'.repeat(600);
  const [one, two] = [await signedIn('nils', `${long}1`), await signedIn('nils', `${long}2`)];
  expect((await logout('nils', { sid: `${long}1` })).status).toBe(204);
  expect([await codeOf(harness, one), await codeOf(harness, two)]).toEqual(['operator_session_ended', 'signed in']);
});

it('stays so after another broker took over', async () => {
  const who = await signedIn('pia');
  await logout('pia');
  await harness.restart();
  expect(await codeOf(harness, who)).toBe('operator_session_ended');
});

it('refuses an ID token from before it that arrives after it, for as long as the token is valid', async () => {
  const key = newKey();
  const token = await harness.idp.prove('rosa', personClaims(harness, key, ['admin']));
  harness.clockAhead += 1_000;
  expect((await logout('rosa')).status).toBe(204);
  harness.clockAhead += 280_000;
  const late = await exchange(harness, 'rosa', ['admin'], { key, token });
  expect([late.status, late.json.error_code]).toEqual([409, 'sign_in_ended']);
  expect(await codeOf(harness, await signedIn('rosa'))).toBe('signed in');
});

it('ends a session that was opened while the logout came', async () => {
  const key = newKey();
  const token = await harness.idp.prove('tina', personClaims(harness, key, ['admin']));
  const [opened] = await Promise.all([exchange(harness, 'tina', ['admin'], { key, token }), logout('tina')]);
  if (opened.status === 200)
    expect(await codeOf(harness, { key, token: opened.json.access_token, subject: 'idp:tina' })).toBe(
      'operator_session_ended',
    );
  else expect(opened.json.error_code).toBe('sign_in_ended');
});

it('ends no session if its token is for another client', async () => {
  const who = await signedIn('uma');
  const refused = await logout('uma', { aud: 'another' });
  expect([refused.status, refused.json.error_code]).toEqual([400, 'logout_token_invalid']);
  expect(await codeOf(harness, who)).toBe('signed in');
});

it.each<[string, () => Promise<unknown>]>([
  ['', async () => undefined],
  ['after another broker took over', () => harness.restart()],
])('ends no session that was opened after it when its token is sent again %s', async (_, before) => {
  const [one, token] = [await signedIn('vera'), await logoutToken('vera')];
  expect((await send(token)).status).toBe(204);
  await before();
  harness.clockAhead += 5_000;
  const anew = await signedIn('vera');
  const again = await send(token);
  expect([again.status, again.json.error_code]).toEqual([400, 'proof_replayed']);
  expect([await codeOf(harness, one), await codeOf(harness, anew)]).toEqual(['operator_session_ended', 'signed in']);
});

it('refuses an ID token from before it at a broker that took over', async () => {
  const key = newKey();
  const token = await harness.idp.prove('wanda', personClaims(harness, key, ['admin']));
  harness.clockAhead += 2_000;
  expect((await logout('wanda')).status).toBe(204);
  await harness.restart();
  const late = await exchange(harness, 'wanda', ['admin'], { key, token });
  expect([late.status, late.json.error_code]).toEqual([409, 'sign_in_ended']);
  expect(await codeOf(harness, await signedIn('wanda'))).toBe('signed in');
});
