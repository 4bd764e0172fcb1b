/** A developer signs in at the company's identity provider beside the proof: what that gives, and whose sign-in is refused. */
import { authorize, parseAccess } from '@meshpass/access';
import type { JWTPayload } from 'jose';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { readStore } from '../harness/audit.ts';
import { asSession, type Enrolled, enrol, type Harness, session, startHarness } from '../harness/broker.ts';
import {
  ACCESS,
  CLIENT,
  claimsFor,
  enrolSignedIn,
  grantsOf,
  newKey,
  OKTA,
  type SignInProvider,
  signIn,
  signInProvider,
  signOut,
} from '../harness/sign-in.ts';

const DEMANDED = `{issuer: idp, signedIn: {issuer: okta, when: '"payments" in claims.groups', amr: [mfa]}}`;
let harness: Harness;
let okta: SignInProvider;

function use(who: string, more = ''): void {
  const { grants, trust } = parseAccess(ACCESS(who, more), 'access.yaml');
  harness.mesh.setAccess([...grants], [], trust);
}

const start = () =>
  startHarness({
    parts: (clock, { idp, mesh }) => ({ authorize, ...okta.parts(idp, mesh.access, clock) }),
  });

beforeAll(async () => {
  okta = await signInProvider();
  harness = await start();
});
beforeEach(() => use(DEMANDED));
afterAll(() => harness.stop());

const token = (key: Enrolled['key'], more: JWTPayload = {}) => okta.sign(claimsFor(harness, { key }, more));

/** A session of a proof like a Codespace's, which opens with a sign-in. */
async function signedIn(subject: string, more: JWTPayload = {}): Promise<Enrolled> {
  const key = newKey();
  const proof = await harness.idp.prove(`codespace-${subject}`);
  const answer = await enrolSignedIn(harness, key, await token(key, more), proof);
  expect(answer.status, answer.text).toBe(200);
  return { ...answer.json, key };
}

describe('a grant that demands a sign-in beside the proof', () => {
  it('is granted only to people with both, not with one of them', async () => {
    expect((await signedIn('ann')).session.grants).toEqual(['open', 'both']);
    expect((await session(harness, 'bob')).session.grants).toEqual(['open']);
    const key = newKey();
    const alone = await enrolSignedIn(harness, key, await token(key));
    expect([alone.status, alone.json.error_code]).toEqual([403, 'access_none']);
  });

  it.each<[string, JWTPayload]>([
    ['is in another group', { groups: ['sre'] }],
    ['has no second factor', { amr: ['pwd'] }],
    ['does not say how it was done', { amr: undefined }],
  ])('is refused if the sign-in %s', async (_, more) => {
    expect((await signedIn('cid', more)).session.grants).toEqual(['open']);
  });

  it('reports the missing sign-in if all other conditions are met', async () => {
    const { grants, trust } = parseAccess(ACCESS(DEMANDED), 'access.yaml');
    harness.mesh.setAccess([grants[1]!], [], trust);
    const refused = await enrol(harness, 'dan');
    expect([refused.status, refused.json.error_code]).toEqual([403, 'sign_in_required']);
    expect(refused.json.error_description).toContain('meshpass up --sign-in okta');
    expect(refused.json.sign_in).toEqual(['okta']);
  });

  it('names it to a session that has other grants', async () => {
    const who = await session(harness, 'eve');
    const { json } = await asSession(harness, who, { path: '/session/sign-in' });
    expect(json).toEqual({
      sign_ins: [],
      lacking: [{ grant: 'both', issuer: 'okta' }],
      issuers: ['okta'],
    });
  });
});

describe('the sign-in of a live session', () => {
  it('is listed with the person and its expiry', async () => {
    const who = await session(harness, 'flo');
    const answer = await signIn(harness, who, await token(who.key));
    expect(answer.status, answer.text).toBe(200);
    const [shown] = answer.json.sign_ins;
    expect(shown).toMatchObject({ issuer: 'okta', subject: 'okta:00u1', login: 'alice', confirm_seconds: 60 });
    expect(shown.until).toBeLessThanOrEqual(harness.now() + 60);
    expect(answer.json.lacking).toEqual([]);
  });

  const bad: readonly [string, string, (who: Enrolled) => Promise<string>][] = [
    ['another client', 'proof_audience', ({ key }) => token(key, { aud: 'another' })],
    ['two audiences', 'proof_audience', ({ key }) => token(key, { aud: [CLIENT, 'another'] })],
    ['another party', 'proof_audience', ({ key }) => token(key, { azp: 'another' })],
    ['another session', 'sign_in_foreign', () => token(newKey())],
    ['two minutes ago', 'sign_in_stale', ({ key }) => token(key, { iat: harness.now() - 120 })],
    ['tomorrow', 'proof_not_yet_valid', ({ key }) => token(key, { iat: harness.now() + 3_600 })],
    ['yesterday', 'proof_expired', ({ key }) => token(key, { exp: harness.now() - 60 })],
    ['another issuer', 'proof_issuer_unknown', ({ key }) => token(key, { iss: `${OKTA}/` })],
    [
      'an issuer that only proves workspaces',
      'proof_issuer_unknown',
      ({ key }) => token(key, { iss: 'https://idp.example' }),
    ],
    ["a key that is not its issuer's", 'proof_signature', ({ key }) => okta.forge(claimsFor(harness, { key }))],
    [
      'another kind of token',
      'proof_malformed',
      ({ key }) => okta.sign(claimsFor(harness, { key }), { typ: 'at+jwt' }),
    ],
    ['nobody', 'proof_malformed', ({ key }) => token(key, { sub: undefined })],
    ['who turns the terminal around', 'proof_unprintable', ({ key }) => token(key, { name: 'a\u202eb' })],
  ];
  it.each(bad)('is refused if its ID token is of %s', async (_, code, made) => {
    const who = await session(harness, 'gus');
    const refused = await signIn(harness, who, await made(who));
    expect([refused.json.error_code, refused.status >= 400], refused.text).toEqual([code, true]);
    expect(await grantsOf(harness, who)).toEqual(['open']);
  });

  it('is refused if its ID token is unsigned, or signed with a public value', async () => {
    const who = await session(harness, 'hal');
    const [, payload] = (await token(who.key)).split('.');
    const unsigned = (alg: string) => `${Buffer.from(JSON.stringify({ alg })).toString('base64url')}.${payload}.`;
    for (const alg of ['none', 'HS256', 'ES384']) {
      const refused = await signIn(harness, who, unsigned(alg));
      expect(refused.json.error_code).toMatch(/^proof_(algorithm|malformed|signature|key_unknown)$/);
    }
  });

  it('is refused at an issuer without sign-in', async () => {
    const who = await session(harness, 'ida');
    for (const issuer of ['idp', 'unknown']) {
      const refused = await signIn(harness, who, await token(who.key), issuer);
      expect([refused.status, refused.json.error_code]).toEqual([404, 'sign_in_unknown']);
    }
  });

  it('is refused with a token that is longer than any', async () => {
    const who = await session(harness, 'jim');
    const refused = await signIn(harness, who, 'x'.repeat(20_000));
    expect(refused.status).toBe(413);
  });

  it('takes an ID token once, even from another session of the same key', async () => {
    const who = await session(harness, 'kim');
    const once = await token(who.key);
    expect((await signIn(harness, who, once)).status).toBe(200);
    expect((await signIn(harness, who, once)).json.error_code).toBe('proof_replayed');
    const key = newKey();
    const made = await token(key);
    expect((await enrolSignedIn(harness, key, made, await harness.idp.prove('codespace-k'))).status).toBe(200);
    const again = await enrolSignedIn(harness, key, made, await harness.idp.prove('codespace-k'));
    expect(again.json.error_code).toBe('proof_replayed');
  });

  it('must come with the nonce of this session if the access file demands one', async () => {
    use(DEMANDED, ', nonce: required');
    const who = await session(harness, 'lea');
    const without = await signIn(harness, who, await token(who.key, { nonce: undefined }));
    expect([without.status, without.json.error_code]).toEqual([400, 'sign_in_foreign']);
    const key = newKey();
    const foreign = await enrolSignedIn(harness, key, await token(newKey()), await harness.idp.prove('codespace-l'));
    expect(foreign.json.error_code).toBe('sign_in_foreign');
    expect((await signIn(harness, who, await token(who.key))).status).toBe(200);
    expect((await signIn(harness, who, await token(who.key, { nonce: undefined }))).status).toBe(200);
  });

  it('is confirmed by a newer ID token of the same person, without the nonce', async () => {
    const who = await signedIn('mia');
    harness.clockAhead += 30_000;
    const before = harness.now();
    const newer = await signIn(harness, who, await token(who.key, { nonce: undefined }));
    expect(newer.json.sign_ins[0].until).toBeGreaterThanOrEqual(before + 45);
    expect(newer.json.sign_ins[0].until).toBeLessThanOrEqual(harness.now() + 45);
    const older = await signIn(harness, who, await token(who.key, { nonce: undefined, iat: harness.now() - 20 }));
    expect(older.json.error_code).toBe('sign_in_stale');
    const other = await signIn(harness, who, await token(who.key, { sub: '00u2' }));
    expect(other.json.error_code).toBe('sign_in_rejected');
    expect(await grantsOf(harness, who)).toEqual(['open', 'both']);
  });

  it('is accepted, and lasts, if the provider backdates its ID tokens, as Entra ID does', async () => {
    use(DEMANDED, ', backdated: 5m');
    const dated = () => ({ iat: harness.now() - 300, exp: harness.now() + 3_600 });
    const who = await signedIn('eva', dated());
    expect(who.session.grants).toEqual(['open', 'both']);
    harness.clockAhead += 30_000;
    const before = harness.now();
    const newer = await signIn(harness, who, await token(who.key, { ...dated(), nonce: undefined }));
    expect(newer.json.sign_ins[0].until).toBeGreaterThanOrEqual(before + 45);
    use(DEMANDED);
    expect((await signIn(harness, who, await token(who.key, dated()))).json.error_code).toBe('sign_in_stale');
  });

  it('cannot be tried without end', async () => {
    const who = await session(harness, 'ned');
    const codes = [];
    for (let at = 0; at < 12; at++) codes.push((await signIn(harness, who, 'a.b.c')).status);
    expect(codes).toContain(429);
    expect(codes.slice(0, 10)).not.toContain(429);
  });

  it('is in the audit log with its end and its refusals, and its ID token nowhere', async () => {
    const own = await start().then((started) => {
      const before = harness;
      harness = started;
      return before;
    });
    try {
      use(DEMANDED);
      const who = await session(harness, 'olga');
      const given = await token(who.key);
      await signIn(harness, who, given);
      await signIn(harness, who, await token(newKey()));
      await signOut(harness, who);
      await harness.broker.close();
      const { audit, sessions } = await readStore({ dataDir: `${harness.dir}/data` } as never);
      const rows = audit.filter(({ action }) => action.startsWith('sign_in'));
      expect(rows.map(({ action, outcome, code, target }) => [action, outcome, code, target])).toEqual([
        ['sign_in.add', 'allowed', null, 'okta'],
        ['sign_in.add', 'refused', 'sign_in_foreign', 'okta'],
        ['sign_in.end', 'ended', null, 'okta'],
      ]);
      expect(rows.every(({ subject, session_id }) => subject === 'idp:olga' && session_id === who.session.id)).toBe(
        true,
      );
      expect(JSON.stringify([audit, sessions, harness.log])).not.toContain(given.split('.')[2]);
    } finally {
      harness = own;
    }
  });
});

describe('the public description of a sign-in', () => {
  it('is with which public client they sign in, and nothing of other issuers', async () => {
    const { json } = await harness.call({ path: '/sign-in/okta' });
    expect(json).toEqual({
      name: 'okta',
      issuer: OKTA,
      client_id: CLIENT,
      refresh: true,
      scopes: ['openid', 'offline_access'],
    });
    const none = await harness.call({ path: '/sign-in/idp' });
    expect([none.status, none.json.error_code]).toEqual([404, 'sign_in_unknown']);
  });

  it('is counted by issuer and outcome', async () => {
    const metrics = await vi.waitFor(async () => (await harness.operatorCall('/metrics')).text, { timeout: 60_000 });
    expect(metrics).toMatch(/meshpass_sign_ins_total\{issuer="okta",outcome="added"\} \d+/);
    expect(metrics).toMatch(/meshpass_sign_ins_total\{issuer="okta",outcome="refused"\} \d+/);
    expect(metrics).toMatch(/meshpass_sign_ins_total\{issuer="unknown",outcome="refused"\} \d+/);
  });
});
