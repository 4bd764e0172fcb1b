/** Causes that end a sign-in and the grants that rest on it: sign-out, a missing confirmation, age, and a logout by the issuer. */
import { authorize, parseAccess } from '@meshpass/access';
import type { JWTPayload } from 'jose';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { asSession, type Enrolled, type Harness, renewLease, session, startHarness } from '../harness/broker.ts';
import {
  ACCESS,
  backChannelLogout,
  CLIENT,
  claimsFor,
  enrolSignedIn,
  grantsOf,
  LOGOUT,
  logoutClaims,
  newKey,
  OKTA,
  type SignInProvider,
  signIn,
  signInProvider,
  signOut,
} from '../harness/sign-in.ts';

const DEMANDED = '{issuer: idp, signedIn: {issuer: okta}}';
let harness: Harness;
let okta: SignInProvider;

function use(who: string, more = ''): void {
  const { grants, trust } = parseAccess(ACCESS(who, more), 'access.yaml');
  harness.mesh.setAccess([...grants], [], trust);
}

beforeAll(async () => {
  okta = await signInProvider();
  harness = await startHarness({
    parts: (clock, { idp, mesh }) => ({ authorize, ...okta.parts(idp, mesh.access, clock) }),
  });
});
beforeEach(() => use(DEMANDED));
afterAll(() => harness.stop());

const token = (key: Enrolled['key'], more: JWTPayload = {}) => okta.sign(claimsFor(harness, { key }, more));

async function signedIn(subject: string, more: JWTPayload = {}): Promise<Enrolled> {
  const key = newKey();
  const proof = await harness.idp.prove(`codespace-${subject}`);
  const answer = await enrolSignedIn(harness, key, await token(key, { sub: subject, ...more }), proof);
  expect(answer.json.session?.grants, answer.text).toEqual(['open', 'both']);
  return { ...answer.json, key };
}

/** Advances the clock while the agent renews its lease. */
async function pass(who: Enrolled, seconds: number): Promise<void> {
  for (let left = seconds; left > 0; left -= 20) {
    harness.clockAhead += Math.min(left, 20) * 1_000;
    await renewLease(harness, who);
  }
}

const lost = (who: Enrolled) => vi.waitFor(async () => expect(await grantsOf(harness, who)).toEqual(['open']), 60_000);

describe('a grant that rests on a sign-in ends', () => {
  it('when the workspace signs out, and no other grant does', async () => {
    const who = await signedIn('ann');
    expect((await signOut(harness, who)).json).toEqual({
      sign_ins: [],
      lacking: [{ grant: 'both', issuer: 'okta' }],
      issuers: ['okta'],
    });
    expect(await grantsOf(harness, who)).toEqual(['open']);
  });

  it('when it is not confirmed in time, even if the agent renews its lease', async () => {
    const who = await signedIn('bob');
    await pass(who, 40);
    expect(await grantsOf(harness, who)).toEqual(['open', 'both']);
    await pass(who, 20);
    await lost(who);
  });

  it('never while the sign-in is confirmed', async () => {
    const who = await signedIn('cid');
    for (let times = 0; times < 4; times++) {
      await pass(who, 40);
      expect((await signIn(harness, who, await token(who.key, { sub: 'cid', nonce: undefined }))).status).toBe(200);
    }
    expect(await grantsOf(harness, who)).toEqual(['open', 'both']);
  });

  it('when the person was authenticated too long ago, even if the sign-in is confirmed', async () => {
    use('{issuer: idp, signedIn: {issuer: okta, maxAge: 2m}}');
    const at = harness.now();
    const who = await signedIn('dan', { auth_time: at });
    for (let times = 0; times < 2; times++) {
      await pass(who, 40);
      await signIn(harness, who, await token(who.key, { sub: 'dan', nonce: undefined, auth_time: harness.now() }));
    }
    expect(await grantsOf(harness, who)).toEqual(['open', 'both']);
    await pass(who, 42);
    await lost(who);
  });

  it('with its ID token, if the access file requests no refresh token', async () => {
    use(DEMANDED, ', refresh: false');
    const who = await signedIn('eve', { exp: harness.now() + 100 });
    await pass(who, 80);
    expect(await grantsOf(harness, who)).toEqual(['open', 'both']);
    await pass(who, 22);
    await lost(who);
  });

  it.each<[string, (file: string) => string]>([
    ['issuer', (file) => file.replace(`issuer: '${OKTA}'`, "issuer: 'https://other.okta.example'")],
    ['client', (file) => file.replace(`client: ${CLIENT}`, 'client: another')],
  ])(
    'at once when the access file has another %s under the name, and no earlier ID token restores it',
    async (_, replaced) => {
      use(DEMANDED, ', refresh: false');
      const who = await signedIn('ned', { exp: harness.now() + 80_000 });
      const { grants, trust } = parseAccess(replaced(ACCESS(DEMANDED, ', refresh: false')), 'access.yaml');
      harness.mesh.setAccess([...grants], [], trust);
      await lost(who);
      const { json } = await asSession(harness, who, { path: '/session/sign-in' });
      expect(json).toMatchObject({ sign_ins: [], lacking: [{ grant: 'both', issuer: 'okta' }] });
      const old = await signIn(harness, who, await token(who.key, { sub: 'ned' }));
      expect([old.status, old.json.sign_ins]).toEqual([expect.any(Number), undefined]);
      await harness.restart();
      await renewLease(harness, who);
      expect(await grantsOf(harness, who)).toEqual(['open']);
    },
  );

  it('when the file has another client, whose ID token without the demanded nonce confirms no sign-in', async () => {
    const who = await signedIn('nia');
    const strict = ACCESS(DEMANDED, ', nonce: required').replace(`client: ${CLIENT}`, 'client: another');
    const { grants, trust } = parseAccess(strict, 'access.yaml');
    harness.mesh.setAccess([...grants], [], trust);
    const at = (more: JWTPayload) => token(who.key, { sub: 'nia', aud: 'another', ...more });
    const without = await signIn(harness, who, await at({ nonce: undefined }));
    expect(without.json.error_code).toBe('sign_in_foreign');
    // The refusal does not block a new sign-in.
    expect((await signIn(harness, who, await at({ sub: 'nia2' }))).json.lacking).toEqual([]);
  });

  it('with the whole session if the sign-in alone opened it and the file has another client', async () => {
    use('{issuer: okta}');
    const key = newKey();
    const answer = await enrolSignedIn(harness, key, await token(key, { sub: 'pia' }));
    const who = { ...answer.json, key } as Enrolled;
    const replaced = ACCESS('{issuer: okta}').replace(`client: ${CLIENT}`, 'client: another');
    const { grants, trust } = parseAccess(replaced, 'access.yaml');
    harness.mesh.setAccess([...grants], [], trust);
    await vi.waitFor(async () => expect((await renewLease(harness, who)).kind).toBe('ended'), 60_000);
  });

  it('with the whole session if the sign-in alone opened it', async () => {
    use('{issuer: okta}');
    const key = newKey();
    const answer = await enrolSignedIn(harness, key, await token(key, { sub: 'flo' }));
    const who = { ...answer.json, key } as Enrolled;
    expect(who.session).toMatchObject({ grants: ['both'], subject: 'okta:flo' });
    await signOut(harness, who);
    expect(await renewLease(harness, who)).toMatchObject({ kind: 'ended', cause: 'signed_out' });
  });

  it('not with a restart of the broker, which grants time for one confirmation', async () => {
    const who = await signedIn('gus');
    await pass(who, 30);
    await harness.restart();
    await renewLease(harness, who);
    await pass(who, 50);
    expect(await grantsOf(harness, who)).toEqual(['open', 'both']);
    await harness.restart();
    await renewLease(harness, who);
    await pass(who, 15);
    await lost(who);
  });
});

describe('the back-channel logout of an issuer', () => {
  const logout = async (more: JWTPayload = {}, header = {}) =>
    backChannelLogout(harness, await okta.sign(logoutClaims(harness, more), { typ: 'logout+jwt', ...header }));

  it('ends every sign-in of that person only', async () => {
    const [one, two, other] = [await signedIn('hal'), await signedIn('hal2', { sub: 'hal' }), await signedIn('ida')];
    expect((await logout({ sub: 'hal' })).status).toBe(204);
    expect(await grantsOf(harness, one)).toEqual(['open']);
    expect(await grantsOf(harness, two)).toEqual(['open']);
    expect(await grantsOf(harness, other)).toEqual(['open', 'both']);
  });

  it.each<[string, string]>([
    ['names that', ''],
    ['has a long name for it', 's'.repeat(600)],
  ])('ends only the sign-ins of one session of the issuer if it %s', async (_, long) => {
    const [a, b] = [`${long}jim-a`, `${long}jim-b`];
    const [one, two] = [await signedIn('jim', { sid: a }), await signedIn('jim2', { sub: 'jim', sid: b })];
    expect((await logout({ sub: 'jim', sid: a })).status).toBe(204);
    expect(await grantsOf(harness, one)).toEqual(['open']);
    expect(await grantsOf(harness, two)).toEqual(['open', 'both']);
    expect((await logout({ sub: undefined, sid: b })).status).toBe(204);
    expect(await grantsOf(harness, two)).toEqual(['open']);
  });

  it('refuses an ID token from before it that arrives after it', async () => {
    const who = await session(harness, 'kim');
    const made = await token(who.key, { sub: 'kim' });
    expect((await logout({ sub: 'kim' })).status).toBe(204);
    const late = await signIn(harness, who, made);
    expect([late.status, late.json.error_code]).toEqual([409, 'sign_in_ended']);
    harness.clockAhead += 2_000;
    const anew = await token(who.key, { sub: 'kim', auth_time: harness.now() });
    expect((await signIn(harness, who, anew)).status).toBe(200);
  });

  const back = async (who: Enrolled, claims: JWTPayload) => {
    await pass(who, 70);
    const { status, json } = await signIn(harness, who, await token(who.key, claims));
    return status === 200 ? 'signed in' : json.error_code;
  };

  it.each<[string, JWTPayload, JWTPayload, JWTPayload]>([
    ['by its session', { sid: 'ola-a' }, { sid: 'ola-a' }, { sid: 'ola-b' }],
    ['by the time of authentication', { auth_time: 1_700_000_000 }, { auth_time: 1_700_000_000 }, {}],
  ])(
    'is not undone by a refresh token that the provider still accepts, which shows %s',
    async (_, first, same, new_) => {
      const sub = `ola-${Math.random()}`;
      const who = await signedIn(sub, first);
      expect((await logout({ sub })).status).toBe(204);
      expect(await back(who, { sub, ...same })).toBe('sign_in_ended');
      await harness.restart();
      await renewLease(harness, who);
      expect(await back(who, { sub, ...same })).toBe('sign_in_ended');
      expect(await back(who, { sub, ...new_ })).toBe('signed in');
    },
  );

  it('is not undone where the provider shows neither', async () => {
    const who = await signedIn('pam', { auth_time: undefined });
    expect((await logout({ sub: 'pam' })).status).toBe(204);
    expect(await back(who, { sub: 'pam', auth_time: undefined })).toBe('sign_in_ended');
  });

  it('takes a logout token once', async () => {
    const once = await okta.sign(logoutClaims(harness, { sub: 'lea' }));
    expect((await backChannelLogout(harness, once)).status).toBe(204);
    // A sign-in after the logout remains valid.
    harness.clockAhead += 5_000;
    const anew = await signedIn('lea', { auth_time: harness.now() });
    const again = await backChannelLogout(harness, once);
    expect([again.status, again.json.error_code]).toEqual([400, 'proof_replayed']);
    expect(await grantsOf(harness, anew)).toEqual(['open', 'both']);
  });

  it.each<[string, JWTPayload, object?]>([
    ['has a nonce', { nonce: 'x' }],
    ['has no event', { events: undefined }],
    ['has another event', { events: { 'https://example.com/other': {} } }],
    ['has an event that is no object', { events: { [LOGOUT]: true } }],
    ['is for another client', { aud: 'another' }],
    ['is of another issuer', { iss: 'https://idp.example' }],
    ['names nobody', { sub: undefined }],
    ['has no jti', { jti: undefined }],
    ['is old', { iat: 1_700_000_000 }],
    ['is over', { exp: 1_700_000_000 }],
    ['is of the future', { iat: 4_000_000_000 }],
    ['is an access token', {}, { typ: 'at+jwt' }],
    ['is a DPoP proof', {}, { typ: 'dpop+jwt' }],
  ])('is refused if its token %s', async (_, more, header = {}) => {
    const who = await signedIn(`mia-${Math.random()}`, { sub: 'mia' });
    const refused = await logout({ sub: 'mia', ...more }, header);
    expect([refused.status, refused.json.error_code], refused.text).toEqual([400, 'logout_token_invalid']);
    expect(await grantsOf(harness, who)).toEqual(['open', 'both']);
  });

  it('is refused where its token is an ID token, forged, unsigned, huge or no token', async () => {
    const who = await signedIn('ned');
    const forged = await okta.forge(logoutClaims(harness, { sub: 'ned' }));
    const unsigned = `${Buffer.from('{"alg":"none"}').toString('base64url')}.${forged.split('.')[1]}.`;
    const tokens = [await token(who.key, { sub: 'ned' }), forged, unsigned, 'x'.repeat(17_000), 'nothing'];
    for (const bad of tokens) {
      const refused = await backChannelLogout(harness, bad);
      expect(refused.status, refused.text).toBeGreaterThanOrEqual(400);
      expect(refused.status).toBeLessThan(500);
    }
    expect(await grantsOf(harness, who)).toEqual(['open', 'both']);
  });

  it('is refused at an issuer without sign-in', async () => {
    const refused = await backChannelLogout(harness, await okta.sign(logoutClaims(harness)), 'idp');
    expect([refused.status, refused.json.error_code]).toEqual([404, 'sign_in_unknown']);
  });

  it('is taken from a source that also sends many invalid ones', async () => {
    const who = await signedIn('sue');
    const bad = async () => (await backChannelLogout(harness, 'nothing')).status;
    const answers = await Promise.all(Array.from({ length: 300 }, bad));
    expect(answers.every((status) => status >= 400)).toBe(true);
    const good = await okta.sign(logoutClaims(harness, { sub: 'sue' }));
    const [{ status }] = await Promise.all([backChannelLogout(harness, good), ...Array.from({ length: 8 }, bad)]);
    expect(status).toBe(204);
    expect(await grantsOf(harness, who)).toEqual(['open']);
  });
});
