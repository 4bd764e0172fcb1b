/** The broker refuses an operator whom the issuer has not confirmed in time, whatever time the session has left. */
import type { JWTPayload } from 'jose';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { FORM, form, type Harness, newKey, OPERATOR_TOKEN } from '../harness/broker.ts';
import { playIdp } from '../harness/idp.ts';
import { grant, ISSUERS } from '../harness/mesh.ts';
import {
  asOperator,
  codeOf,
  confirmSignIn,
  exchange,
  OPERATOR_CLIENT,
  operatorsByGroup,
  personClaims,
  refreshedIdToken,
  type SignedIn,
  signIn,
  startWithLogouts,
  whoAmI,
} from '../harness/operators.ts';
import { LOGOUT } from '../harness/sign-in.ts';

const CONFIRM = '/operator/session/confirm';

let harness: Harness;
beforeAll(async () => {
  harness = await startWithLogouts();
});
afterAll(() => harness?.stop());
beforeEach(() => harness.mesh.setOperators(operatorsByGroup()));

const later = (seconds: number) => {
  harness.clockAhead += seconds * 1000;
};

const refreshed = (subject: string, groups: readonly string[], more?: JWTPayload) =>
  refreshedIdToken(harness, subject, groups, more);
const confirm = (who: SignedIn, token: string | Promise<string>) => confirmSignIn(harness, who, token);

const rowsOf = async (action: string) => {
  const headers = { authorization: `Bearer ${OPERATOR_TOKEN}` };
  const { json } = await harness.operatorCall({ path: '/audit?last=100', headers });
  return json.rows.filter((row: { action: string }) => row.action === action).toReversed();
};

describe('a session that the issuer has not confirmed in time', () => {
  it('is refused everywhere, and continues once the issuer confirms its person', async () => {
    const mona = await signIn(harness, 'mona', ['admin']);
    const until = Date.parse((await whoAmI(harness, mona)).json.confirmed_until) / 1000;
    expect(until - harness.now()).toBeGreaterThan(295);
    later(290);
    expect(await codeOf(harness, mona)).toBe('signed in');
    later(11);
    const { status, json } = await asOperator(harness, mona, { path: '/admin/sessions' });
    expect([status, json.error_code]).toEqual([401, 'operator_unconfirmed']);
    const post = { method: 'POST', path: '/admin/sessions/close', body: JSON.stringify({ id: 'x' }) };
    expect((await asOperator(harness, mona, post)).json.error_code).toBe('operator_unconfirmed');
    const confirmed = await confirm(mona, refreshed('mona', ['admin']));
    expect(confirmed).toMatchObject({ status: 200, json: { operator: { subject: 'idp:mona' } } });
    expect(confirmed.json.confirm_in).toBeGreaterThan(295);
    // The session's own end stays.
    expect(confirmed.json.expires_in).toBeLessThanOrEqual(3600 - 301);
    expect(await codeOf(harness, mona)).toBe('signed in');
    // A confirmation that changes nothing leaves no row, a refusal does.
    expect(await rowsOf('operator.confirm-sign-in')).toEqual([]);
    const refusals = (await rowsOf('operator.list')).filter(
      (row: { code: string | null }) => row.code === 'operator_unconfirmed',
    );
    expect(refusals[0]).toMatchObject({ outcome: 'refused', subject: 'idp:mona' });
  });

  it('stays refused after another broker took over, and stays confirmed', async () => {
    const [out, well] = [await signIn(harness, 'otto', ['viewer']), await signIn(harness, 'wanda', ['viewer'])];
    later(290);
    expect((await confirm(well, refreshed('wanda', ['viewer']))).status).toBe(200);
    await harness.restart();
    later(20);
    expect([await codeOf(harness, out), await codeOf(harness, well)]).toEqual(['operator_unconfirmed', 'signed in']);
  });

  it('can be signed out of', async () => {
    const lena = await signIn(harness, 'lena', ['viewer']);
    later(301);
    expect((await asOperator(harness, lena, { method: 'DELETE', path: '/operator/session' })).status).toBe(204);
    expect(await codeOf(harness, lena)).toBe('operator_session_ended');
  });

  it('counts from when the ID token was made, also at the sign-in', async () => {
    const key = newKey();
    const token = await harness.idp.prove('hugo', personClaims(harness, key, ['viewer']));
    later(200);
    const { json } = await exchange(harness, 'hugo', [], { key, token });
    const hugo = { key, token: json.access_token, subject: 'idp:hugo' };
    expect(json.confirm_in).toBeLessThanOrEqual(115);
    later(116);
    expect(await codeOf(harness, hugo)).toBe('operator_unconfirmed');
  });

  it('counts from then on even if the issuer backdates its ID tokens, as Entra ID does', async () => {
    const trusting = (backdated?: number) => {
      const issuers = ISSUERS.map((one) => ({ ...one, signIn: { ...one.signIn!, backdated } }));
      harness.mesh.setAccess([grant('dev')], [], { issuers });
    };
    const dated = () => ({ iat: harness.now() - 300, exp: harness.now() + 3_600 });
    trusting(300);
    const key = newKey();
    const { json } = await exchange(harness, 'eva', ['viewer'], { key, claims: dated() });
    expect(json.confirm_in).toBeGreaterThan(295);
    const eva = { key, token: json.access_token, subject: 'idp:eva' };
    later(290);
    expect((await confirm(eva, refreshed('eva', ['viewer'], dated()))).json.confirm_in).toBeGreaterThan(295);
    const kept = await refreshed('eva', ['viewer'], dated());
    later(62);
    expect((await confirm(eva, kept)).json.error_code).toBe('sign_in_stale');
    trusting();
    expect(await codeOf(harness, eva)).toBe('signed in');
    expect((await confirm(eva, refreshed('eva', ['viewer'], dated()))).json.error_code).toBe('sign_in_stale');
  });
});

describe('a new statement of the issuer', () => {
  it('removes a role, and adds one, each with an audit row', async () => {
    const ruth = await signIn(harness, 'ruth', ['viewer', 'operator']);
    await confirm(ruth, refreshed('ruth', ['viewer']));
    const close = { method: 'POST', path: '/admin/sessions/close', body: JSON.stringify({ id: 'x' }) };
    expect((await asOperator(harness, ruth, close)).json.error_code).toBe('operator_forbidden');
    later(5);
    await confirm(ruth, refreshed('ruth', ['operator']));
    expect((await asOperator(harness, ruth, close)).json.error_code).not.toBe('operator_forbidden');
    const [gained, lost] = await rowsOf('operator.confirm-sign-in');
    expect(lost).toMatchObject({ outcome: 'allowed', subject: 'idp:ruth', rule: 'viewer access.yaml:10:7' });
    expect(JSON.parse(gained.detail)).toMatchObject({
      roles: 'operator access.yaml:12:7',
      roles_before: 'viewer access.yaml:10:7',
    });
    await harness.restart();
    expect((await whoAmI(harness, ruth)).json.operator.roles).toEqual([
      { role: 'operator', place: 'access.yaml:12:7' },
    ]);
  });

  it('ends the session with the last role', async () => {
    const lars = await signIn(harness, 'lars', ['admin']);
    const lost = await confirm(lars, refreshed('lars', ['everyone']));
    expect([lost.status, lost.json.error_code]).toEqual([403, 'operator_no_role']);
    expect(await codeOf(harness, lars)).toBe('operator_session_ended');
    await harness.restart();
    expect(await codeOf(harness, lars)).toBe('operator_session_ended');
    const [row] = await rowsOf('operator.sign-out');
    expect(row).toMatchObject({ subject: 'idp:lars', reason: expect.stringContaining('no longer reports') });
  });
});

describe('does not confirm:', () => {
  const refusals: readonly [string, string, (who: SignedIn, subject: string) => string | Promise<string>][] = [
    ['an ID token of another person', 'sign_in_rejected', () => refreshed('mallory', ['viewer'])],
    ['one of another client', 'proof_audience', (_, sub) => refreshed(sub, ['viewer'], { aud: 'another' })],
    [
      'one with further audiences',
      'proof_audience',
      (_, sub) => refreshed(sub, ['viewer'], { aud: [OPERATOR_CLIENT, 'another'], azp: OPERATOR_CLIENT }),
    ],
    [
      'one that was issued to another client',
      'proof_audience',
      (_, sub) => refreshed(sub, ['viewer'], { azp: 'another' }),
    ],
    ['one of another session', 'sign_in_foreign', (_, sub) => refreshed(sub, ['viewer'], { nonce: 'n'.repeat(43) })],
    [
      'one of more than a minute ago',
      'sign_in_stale',
      (_, sub) => refreshed(sub, ['viewer'], { iat: harness.now() - 61 }),
    ],
    ['one that has expired', 'proof_expired', (_, sub) => refreshed(sub, ['viewer'], { exp: harness.now() - 31 })],
    ['text that is no token', 'proof_malformed', () => 'no-token'],
  ];
  it.each(refusals)('%s', async (_, code, token) => {
    const subject = `victim-${code.replaceAll('_', '-')}-${refusals.findIndex((one) => one[2] === token)}`;
    const who = await signIn(harness, subject, ['viewer']);
    later(301);
    const answer = await confirm(who, token(who, subject));
    expect(answer.json.error_code, answer.text).toBe(code);
    expect(await codeOf(harness, who)).toBe('operator_unconfirmed');
    const [row] = await rowsOf('operator.confirm-sign-in');
    expect(row).toMatchObject({ outcome: 'refused', code, subject: `idp:${subject}` });
  });

  it('one that another key signed', async () => {
    const who = await signIn(harness, 'nina', ['viewer']);
    const claims = { aud: OPERATOR_CLIENT, groups: ['admin'], iat: harness.now(), exp: harness.now() + 300 };
    const forged = await (await playIdp()).prove('nina', claims);
    expect((await confirm(who, forged)).json.error_code).toMatch(/^proof_(signature|key_unknown)$/);
  });

  it('one twice, or one that is older than the last', async () => {
    const who = await signIn(harness, 'ute', ['viewer']);
    later(10);
    const token = await refreshed('ute', ['viewer']);
    later(10);
    const older = await refreshed('ute', ['viewer'], { iat: harness.now() - 15 });
    expect((await confirm(who, token)).status).toBe(200);
    expect((await confirm(who, token)).json.error_code).toBe('proof_replayed');
    expect((await confirm(who, older)).json.error_code).toBe('sign_in_stale');
    // The ID token of a sign-in does not confirm a session.
    const key = newKey();
    const used = await harness.idp.prove('ute', personClaims(harness, key, ['viewer']));
    await exchange(harness, 'ute', [], { key, token: used });
    expect((await confirm(who, used)).json.error_code).toMatch(/^(proof_replayed|sign_in_foreign)$/);
  });

  it('one without the key of the session', async () => {
    const who = await signIn(harness, 'kim', ['viewer']);
    const answer = await confirm({ ...who, key: newKey() }, refreshed('kim', ['viewer']));
    expect(answer.json.error_code).toBe('dpop_key_mismatch');
  });

  it('one that was made before a back-channel logout', async () => {
    const [kept, out] = ['a', 'b'];
    const key = newKey();
    const { json } = await exchange(harness, 'bea', ['viewer'], { key, claims: { sid: kept } });
    const bea = { key, token: json.access_token, subject: 'idp:bea' };
    const token = await refreshed('bea', ['viewer'], { sid: out });
    later(2);
    const claims = { aud: OPERATOR_CLIENT, iat: harness.now(), exp: harness.now() + 120, events: { [LOGOUT]: {} } };
    const logout = await harness.idp.prove('bea', { ...claims, sid: out });
    const path = '/sign-in/backchannel-logout/idp';
    const sent = await harness.call({ method: 'POST', path, headers: FORM, body: form({ logout_token: logout }) });
    expect(sent.status).toBe(204);
    expect((await confirm(bea, token)).json.error_code).toBe('sign_in_ended');
    // The session keeps its session at the provider even if a refreshed ID token has no `sid`.
    expect((await confirm(bea, refreshed('bea', ['viewer']))).status).toBe(200);
    const own = await harness.idp.prove('bea', { ...claims, iat: harness.now() + 1, sid: kept });
    later(2);
    await harness.call({ method: 'POST', path, headers: FORM, body: form({ logout_token: own }) });
    expect(await codeOf(harness, bea)).toBe('operator_session_ended');
  });

  it('the break-glass token, and more than ten attempts at once', async () => {
    const headers = { authorization: `Bearer ${OPERATOR_TOKEN}`, 'content-type': 'application/json' };
    const body = JSON.stringify({ id_token: 'x' });
    const broken = await harness.operatorCall({ method: 'POST', path: CONFIRM, headers, body });
    expect(broken.json.error_code).toBe('operator_forbidden');
    const who = await signIn(harness, 'tom', ['viewer']);
    const codes: string[] = [];
    for (let n = 0; n < 11; n++) codes.push((await confirm(who, 'x')).json.error_code);
    expect(codes.at(-1)).toBe('too_many_attempts');
    const large = await confirm(who, 'x'.repeat(20_000));
    expect(large.json.error_code).toBe('request_too_large');
  });
});

it('many confirmations of one session at once: each ID token once, and the session is whole', async () => {
  const who = await signIn(harness, 'many', ['viewer']);
  later(301);
  const token = await refreshed('many', ['viewer']);
  const [one, two] = await Promise.all([confirm(who, token), confirm(who, token)]);
  expect([one.status, two.status].toSorted()).toEqual([200, 400]);
  expect(await codeOf(harness, who)).toBe('signed in');
});

it.each([false, true])(
  'a refreshed ID token opens no session of an operator with another key, unless the access file takes ID tokens without a nonce: %s',
  async (deviceFlow) => {
    harness.mesh.setOperators(operatorsByGroup({ deviceFlow }));
    const stolen = await refreshed(`ida-${deviceFlow}`, ['admin']);
    const { json } = await exchange(harness, `ida-${deviceFlow}`, [], { key: newKey(), token: stolen });
    expect(json.error_code ?? 'opened').toBe(deviceFlow ? 'opened' : 'proof_rejected');
  },
);
