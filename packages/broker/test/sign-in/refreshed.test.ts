/** Refreshed ID tokens after the back-channel logout of an issuer, and ID tokens from before it. */
import { authorize, parseAccess } from '@meshpass/access';
import type { JWTPayload } from 'jose';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Enrolled, enrol, type Harness, renewLease, startHarness } from '../harness/broker.ts';
import {
  ACCESS,
  backChannelLogout,
  claimsFor,
  logoutClaims,
  newKey,
  type SignInProvider,
  signIn,
  signInProvider,
} from '../harness/sign-in.ts';

let harness: Harness;
let okta: SignInProvider;
beforeAll(async () => {
  okta = await signInProvider();
  harness = await startHarness({
    parts: (clock, { idp, mesh }) => ({ authorize, ...okta.parts(idp, mesh.access, clock) }),
  });
  const { grants, trust } = parseAccess(ACCESS('{issuer: idp, signedIn: {issuer: okta}}'), 'access.yaml');
  harness.mesh.setAccess([...grants], [], trust);
});
afterAll(() => harness.stop());

async function open(subject: string, key = newKey()): Promise<Enrolled> {
  const answer = await enrol(harness, subject, key);
  expect(answer.status, answer.text).toBe(200);
  return { ...answer.json, key };
}

const token = (key: Enrolled['key'], claims: JWTPayload) => okta.sign(claimsFor(harness, { key }, claims));

/** Signs in, and says how that went. */
async function comeIn(who: Enrolled, claims: JWTPayload | string): Promise<string> {
  const idToken = typeof claims === 'string' ? claims : await token(who.key, claims);
  const { status, json } = await signIn(harness, who, idToken);
  return status === 200 ? 'signed in' : json.error_code;
}

async function logout(claims: JWTPayload): Promise<void> {
  const { status } = await backChannelLogout(harness, await okta.sign(logoutClaims(harness, claims)));
  expect(status).toBe(204);
}

/** Time passes in which the agent renews its lease. */
async function pass(who: Enrolled, seconds: number): Promise<void> {
  for (let left = seconds; left > 0; left -= 20) {
    harness.clockAhead += Math.min(left, 20) * 1_000;
    await renewLease(harness, who);
  }
}

/** Seconds after which no ID token from before a logout is accepted. */
const LONG = 760;

it('two consecutive sessions of the provider: neither returns if it has no time of authentication', async () => {
  const who = await open('ann');
  const of = (sid: string) => ({ sub: 'ann', sid, auth_time: undefined });
  for (const sid of ['a', 'b']) {
    expect(await comeIn(who, of(sid))).toBe('signed in');
    await logout({ sub: 'ann', sid });
    await pass(who, 2);
  }
  await pass(who, LONG);
  expect([await comeIn(who, of('a')), await comeIn(who, of('b'))]).toEqual(['sign_in_ended', 'sign_in_ended']);
  await harness.restart();
  await renewLease(harness, who);
  expect([await comeIn(who, of('a')), await comeIn(who, of('c'))]).toEqual(['sign_in_ended', 'signed in']);
});

it('another person signed in and out in the same session: the first does not return', async () => {
  const who = await open('bob');
  const first = { sub: 'bob', sid: 'bob-1', auth_time: harness.now() };
  expect(await comeIn(who, first)).toBe('signed in');
  await logout({ sub: 'bob', sid: 'bob-1' });
  await pass(who, 5);
  expect(await comeIn(who, { sub: 'eve', sid: 'eve-1' })).toBe('signed in');
  await logout({ sub: 'eve', sid: 'eve-1' });
  await pass(who, LONG);
  expect(await comeIn(who, first)).toBe('sign_in_ended');
});

it.each<[string, JWTPayload]>([
  ['its session', { sub: 'cid', sid: 'c', auth_time: undefined }],
  ['its time of authentication', { sub: 'dan', auth_time: 1_700_000_000 }],
])('a new session with the same key, soon after: it does not come back, which shows %s', async (_, shown) => {
  const who = await open(`${shown.sub}`);
  expect(await comeIn(who, shown)).toBe('signed in');
  const { auth_time: __, ...out } = shown;
  await logout(out);
  const anew = await open(`${shown.sub}-anew`, who.key);
  harness.clockAhead += 5_000;
  expect(await comeIn(anew, shown)).toBe('sign_in_ended');
  expect(await comeIn(anew, { sub: shown.sub, sid: 'new', auth_time: harness.now() })).toBe('signed in');
});

it('an earlier ID token arrives later, at a broker that took over', async () => {
  const who = await open('flo');
  const made = await token(who.key, { sub: 'flo' });
  harness.clockAhead += 1_000;
  await logout({ sub: 'flo' });
  await harness.restart();
  await renewLease(harness, who);
  expect(await comeIn(who, made)).toBe('sign_in_ended');
});
