/** `signIn.operatorClient`: tokens for one of an issuer's two clients are refused at the other client's sign-in. */
import { authorize, parseAccess } from '@meshpass/access';
import { dpopThumbprint, operatorNonce } from '@meshpass/identity';
import type { JWTPayload } from 'jose';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type Enrolled, type Harness, newKey, OPERATOR_TOKEN, session, startHarness } from '../harness/broker.ts';
import { codeOf, confirmSignIn, exchange, type SignedIn, whoAmI } from '../harness/operators.ts';
import {
  ACCESS,
  backChannelLogout,
  CLIENT,
  claimsFor,
  enrolSignedIn,
  grantsOf,
  logoutClaims,
  type SignInProvider,
  signIn,
  signInProvider,
} from '../harness/sign-in.ts';

const OWN = 'meshpass-operators-own';
const OPERATORS = `
operators:
  viewer: [{issuer: okta, claims: {groups: payments}}]
  security-officer: [{issuer: okta, claims: {groups: payments}}]`;

let harness: Harness;
let okta: SignInProvider;

/** @param own members of signIn beside `client` */
function use(own = `, operatorClient: ${OWN}`): void {
  const access = parseAccess(ACCESS('{issuer: idp, signedIn: {issuer: okta}}', own) + OPERATORS, 'access.yaml');
  harness.mesh.setAccess(access.grants, [], access.trust);
  harness.mesh.setOperators(access.operators);
}

beforeAll(async () => {
  okta = await signInProvider();
  harness = await startHarness({
    parts: (clock, { idp, mesh }) => ({
      authorize,
      ...okta.parts(idp, mesh.access, clock),
      operators: { keys: okta.keys(clock) },
    }),
  });
});
beforeEach(() => use());
afterAll(() => harness?.stop());

type Key = Enrolled['key'];
const ofWorkspace = (key: Key, more?: JWTPayload) => okta.sign(claimsFor(harness, { key }, more));
/** ID token of an operator's sign-in. */
const ofOperator = (key: Key, more: JWTPayload = {}) =>
  ofWorkspace(key, { aud: OWN, nonce: operatorNonce(dpopThumbprint(key.jwk)), ...more });
/** ID token of a refresh, which is bound to no key. */
const refreshed = (more: JWTPayload = {}) => ofWorkspace(newKey(), { aud: OWN, nonce: undefined, ...more });

const open = (key: Key, token: string) => exchange(harness, '', [], { key, token });

async function operator(more?: JWTPayload): Promise<SignedIn> {
  const key = newKey();
  const { status, text, json } = await open(key, await ofOperator(key, more));
  expect(status, text).toBe(200);
  return { key, token: json.access_token, subject: 'okta:00u1' };
}

async function workspace(more?: JWTPayload): Promise<Enrolled> {
  const who = await session(harness, 'ann');
  const answer = await signIn(harness, who, await ofWorkspace(who.key, more));
  expect(answer.status, answer.text).toBe(200);
  return who;
}

const later = (seconds: number) => {
  harness.clockAhead += seconds * 1_000;
};
const hasBoth = async (who: Enrolled) => (await grantsOf(harness, who))?.includes('both');

it('is the client that the broker announces to operators, and not to workspaces', async () => {
  const clients = async () => {
    const [{ json: operators }, { json: workspaces }] = [
      await harness.operatorCall('/operator/sign-in'),
      await harness.call({ path: '/sign-in/okta' }),
    ];
    return [operators.issuers.map((one: { client: string }) => one.client), workspaces.client_id];
  };
  expect(await clients()).toEqual([[OWN], CLIENT]);
  use('');
  expect(await clients()).toEqual([[CLIENT], CLIENT]);
});

describe('an ID token of an operator', () => {
  it('signs in and, from a refresh, confirms', async () => {
    const who = await operator();
    expect((await confirmSignIn(harness, who, refreshed())).status).toBe(200);
    expect(await codeOf(harness, who)).toBe('signed in');
  });

  const entries: readonly [string, (who: Enrolled, token: string) => Promise<{ json: { error_code: string } }>][] = [
    ['the sign-in of a session', (who, token) => signIn(harness, who, token)],
    [
      'the confirmation of one',
      async (who, token) => {
        expect((await signIn(harness, who, await ofWorkspace(who.key))).status).toBe(200);
        return signIn(harness, who, token);
      },
    ],
    [
      'a sign-in beside a proof',
      async ({ key }, token) => enrolSignedIn(harness, key, token, await harness.idp.prove('codespace-bea')),
    ],
    ['a proof', ({ key }, token) => enrolSignedIn(harness, key, token)],
  ];
  it.each(entries)('is refused as %s of a workspace, with a nonce and without', async (_, present) => {
    for (const token of [await refreshed(), await refreshed({ azp: OWN })]) {
      const who = await session(harness, 'eve');
      expect((await present(who, token)).json.error_code).toBe('proof_audience');
    }
    const who = await session(harness, 'eve');
    const bound = await ofWorkspace(who.key, { aud: OWN });
    expect((await present(who, bound)).json.error_code).toBe('proof_audience');
  });

  it('would be accepted there under an access file without this client', async () => {
    use('');
    const who = await session(harness, 'eve');
    expect((await signIn(harness, who, await refreshed({ aud: CLIENT }))).status).toBe(200);
  });
});

describe('an ID token of a workspace', () => {
  it.each<[string, JWTPayload]>([
    ['as it is', { aud: CLIENT }],
    ['of both clients', { aud: [OWN, CLIENT] }],
    ['issued to the workspace client for the operator client', { aud: OWN, azp: CLIENT }],
  ])('is refused as that of an operator, at the sign-in and at a confirmation: %s', async (_, claims) => {
    const key = newKey();
    expect((await open(key, await ofOperator(key, claims))).json.error_code).toBe('proof_audience');
    const who = await operator();
    later(301);
    const answer = await confirmSignIn(harness, who, refreshed(claims));
    expect([answer.json.error_code, await codeOf(harness, who)]).toEqual(['proof_audience', 'operator_unconfirmed']);
    const own = await confirmSignIn(harness, who, ofOperator(who.key));
    expect([own.status, await codeOf(harness, who)]).toEqual([200, 'signed in']);
  });
});

describe('an operator session that was opened with another client than the file names now', () => {
  const OTHER = [
    ['a client that is new', '', `, operatorClient: ${OWN}`, CLIENT, OWN],
    ['none any more', `, operatorClient: ${OWN}`, '', OWN, CLIENT],
    ['another one', `, operatorClient: ${OWN}`, ', operatorClient: another', OWN, 'another'],
  ] as const;
  it.each(OTHER)('has ended, says so, and no ID token revives it: %s', async (_, before, after, was, is) => {
    use(before);
    const who = await operator({ aud: was });
    use(after);
    const token = await refreshed({ aud: is });
    const { error_code, error_description } = (await whoAmI(harness, who)).json;
    expect(error_code).toBe('operator_session_ended');
    expect(error_description).toBe(
      "The access file no longer allows operators to sign in at okta with this session's client. Run meshpass login.",
    );
    expect((await confirmSignIn(harness, who, token)).json.error_code).toBe('operator_session_ended');
    use(before);
    expect(await codeOf(harness, who)).toBe('operator_session_ended');
    const headers = { authorization: `Bearer ${OPERATOR_TOKEN}` };
    const { json } = await harness.operatorCall({ path: '/audit?last=20', headers });
    expect(json.rows.map(({ reason }: { reason: string }) => reason)).toContain(error_description);
  });
});

describe('a back-channel logout', () => {
  const logout = async (claims: JWTPayload) =>
    (await backChannelLogout(harness, await okta.sign(logoutClaims(harness, claims)))).status;

  it.each([CLIENT, OWN])('of a person ends both, whichever client it was sent to: %s', async (aud) => {
    const [one, other] = [await operator(), await workspace()];
    later(1);
    expect(await logout({ aud })).toBe(204);
    expect([await codeOf(harness, one), await hasBoth(other)]).toEqual(['operator_session_ended', false]);
    // No ID token that was issued before the logout signs the person in again, with either client.
    const iat = harness.now() - 5;
    const key = newKey();
    expect((await open(key, await ofOperator(key, { iat }))).json.error_code).toBe('sign_in_ended');
    later(61);
  });

  it('of one session of the provider ends the sign-ins of that session only', async () => {
    const sids = ['a', 'b'];
    const [a, b] = await Promise.all(sids.map((sid) => operator({ sid, auth_time: harness.now() })));
    const other = await workspace({ sid: 'c', auth_time: harness.now() });
    expect(await logout({ aud: OWN, sid: 'a' })).toBe(204);
    expect([await codeOf(harness, a!), await codeOf(harness, b!), await hasBoth(other)]).toEqual([
      ...['operator_session_ended', 'signed in'],
      true,
    ]);
    // Some providers have one `sid` for both clients, and notify only one of them.
    expect(await logout({ aud: CLIENT, sid: 'b' })).toBe(204);
    expect([await codeOf(harness, b!), await hasBoth(other)]).toEqual(['operator_session_ended', true]);
    expect(await logout({ aud: OWN, sid: 'c' })).toBe(204);
    expect(await hasBoth(other)).toBe(false);
  });

  it('ends neither if it is for another client, or for an operator client that the file does not have', async () => {
    const who = await operator({ sub: '00u7', auth_time: harness.now() });
    expect(await logout({ aud: 'another', sub: '00u7' })).toBe(400);
    use('');
    expect(await logout({ aud: OWN, sub: '00u7' })).toBe(400);
    use();
    expect(await codeOf(harness, who)).toBe('signed in');
  });
});
