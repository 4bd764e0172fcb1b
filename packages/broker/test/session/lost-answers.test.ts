/** Decisions that follow one whose answer the store lost, and what is left of it after a restart. */
import { join } from 'node:path';
import { authorize, parseAccess } from '@meshpass/access';
import { afterAll, beforeAll, beforeEach, expect, it, vi } from 'vitest';
import { UPSERT_REQUESTS } from '../../src/admin/approval/rows.ts';
import { DENY_PRINCIPALS, OPEN_SESSIONS, SET_SIGN_INS } from '../../src/core/session-sql.ts';
import { openStore } from '../../src/store/open.ts';
import {
  asSession,
  certificates,
  type Enrolled,
  type Harness,
  newKey,
  OPERATOR_TOKEN,
  renewLease,
  session,
  startHarness,
} from '../harness/broker.ts';
import { grant } from '../harness/mesh.ts';
import {
  ACCESS,
  backChannelLogout,
  claimsFor,
  enrolSignedIn,
  grantsOf,
  logoutClaims,
  type SignInProvider,
  signIn,
  signInProvider,
} from '../harness/sign-in.ts';
import { reusedStore } from '../harness/store/engines.ts';
import { fate, loseOnce, resetFate, type Written } from './fate.ts';

vi.mock('../../src/store/open.ts', async (original) => (await import('./fate.ts')).withFate(original));

const SOON = { timeout: 20_000 };
const place = { file: 'access.yaml', line: 9, column: 5 };
const who = [{ place, issuer: 'idp' }];
const leads = [{ place, issuer: 'idp', when: 'subject == "idp:bob"' }];
const emergency = { place, for: 1800, review: leads, within: 86_400 };
const approval = { place, by: leads, for: 3600, max: 7200, reason: 'optional', count: 1, emergency } as const;

let harness: Harness;
let okta: SignInProvider;
beforeAll(async () => {
  okta = await signInProvider();
  harness = await startHarness({
    config: { denyEnded: 'revoked' },
    parts: (clock, { idp, mesh }) => ({ authorize, ...okta.parts(idp, mesh.access, clock) }),
  });
});
beforeEach(() => {
  resetFate();
  harness.clockAhead += 100_000;
  const emergencies = ['p1', 'p2', 'p3'].map((name) => grant(name, [], { who, approval }));
  harness.mesh.setAccess([grant('dev', [], { who }), ...emergencies]);
});
afterAll(() => harness.stop());

const post = async (one: Enrolled, path: string, body: object) =>
  (
    await asSession(harness, one, {
      method: 'POST',
      path,
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
  ).json;
const takes = (one: Enrolled) => async (name: string) => {
  const taken = await post(one, '/approvals/emergency', { grant: name, reason: 'INC-1' });
  return taken.error_code ?? taken.state;
};
const useSignIns = () => {
  const { grants, trust } = parseAccess(
    ACCESS('{issuer: idp, signedIn: {issuer: okta}}', ', refresh: false'),
    'access.yaml',
  );
  harness.mesh.setAccess([...grants], [], trust);
};
const idToken = (subject: string, holder: { readonly key: Enrolled['key'] }) =>
  okta.sign(claimsFor(harness, holder, { sub: subject, exp: harness.now() + 80_000 }));

it('an emergency counts against the next one, although its answer was lost', async () => {
  const alice = await session(harness, 'alice');
  const take = takes(alice);
  expect(await take('p1')).toBe('approved');
  loseOnce(({ audit }) => audit.some(({ action }) => action === 'session.widen'));
  expect(await Promise.all([take('p2'), take('p3')])).toEqual(['store_unavailable', 'emergency_too_many']);
});

it('an objection bars the next emergency, although its answer was lost', async () => {
  const [anna, bob] = [await session(harness, 'anna'), await session(harness, 'bob')];
  const take = takes(anna);
  const { id } = await post(anna, '/approvals/emergency', { grant: 'p1', reason: 'INC-1' });
  const isObjection = (written: Written) => JSON.stringify(written.rows(UPSERT_REQUESTS)).includes('objected');
  const reached = Promise.withResolvers<void>();
  const answer = Promise.withResolvers<void>();
  loseOnce(isObjection);
  fate.after = async (written) => {
    if (!isObjection(written)) return;
    reached.resolve();
    await answer.promise;
  };
  const objecting = post(bob, '/approvals/review', { id, decision: 'object', reason: 'no incident' });
  await reached.promise;
  const second = take('p2');
  answer.resolve();
  expect((await objecting).error_code).toBe('store_unavailable');
  expect(await second).toBe('emergency_barred');
});

it('a late denial reaches the mesh, although its answer was lost', async () => {
  const lena = await session(harness, 'lena');
  await certificates(harness, lena, ['dev']);
  await asSession(harness, lena, { method: 'DELETE', path: '/session' });
  const undenied = () =>
    harness.mesh.revoked
      .filter(({ serviceAccount }) => serviceAccount.includes(lena.session.id.slice(0, 12)))
      .map((one) => one.undenied);
  await vi.waitFor(() => expect(undenied()).toEqual([true]), SOON);
  loseOnce((written) => written.rows(DENY_PRINCIPALS).length > 0);
  const headers = { authorization: `Bearer ${OPERATOR_TOKEN}`, 'content-type': 'application/json' };
  const body = JSON.stringify({ id: lena.session.id });
  const closing = await harness.operatorCall({ method: 'POST', path: '/admin/sessions/close', headers, body });
  expect(closing.json.error_code).toBe('store_unavailable');
  await vi.waitFor(() => expect(undenied()).toEqual([false]), SOON);
});

it('a logout counts after a restart, although the store has only its row', async () => {
  useSignIns();
  let signIns: string | null = null;
  fate.of = (written) => {
    signIns = written.rows(OPEN_SESSIONS)[0]?.sign_ins ?? signIns;
    return 'written';
  };
  const key = newKey();
  const proof = await harness.idp.prove('codespace-zoe');
  const zoe: Enrolled = { ...(await enrolSignedIn(harness, key, await idToken('zoe', { key }), proof)).json, key };
  expect((await backChannelLogout(harness, await okta.sign(logoutClaims(harness, { sub: 'zoe' })))).status).toBe(204);
  await harness.broker.close();
  const store = await openStore(await reusedStore(join(harness.dir, 'data')));
  const ofZoe = store.db.updateTable('sessions').where('id', '=', zoe.session.id);
  await ofZoe.set({ sign_ins: signIns }).execute();
  await store.close();
  await harness.restart();
  await renewLease(harness, zoe);
  await vi.waitFor(async () => expect(await grantsOf(harness, zoe)).toEqual(['open']), SOON);
});

it('a sign-in whose answer was lost does not outlive the logout after it', async () => {
  useSignIns();
  const yan = await session(harness, 'codespace-yan');
  const isSignIn = (written: Written) => written.rows(SET_SIGN_INS).length > 0;
  const reached = Promise.withResolvers<void>();
  const answer = Promise.withResolvers<void>();
  loseOnce(isSignIn);
  fate.after = async (written) => {
    if (!isSignIn(written)) return;
    reached.resolve();
    await answer.promise;
  };
  const adding = signIn(harness, yan, await idToken('yan', yan));
  await reached.promise;
  const logout = backChannelLogout(harness, await okta.sign(logoutClaims(harness, { sub: 'yan' })));
  setTimeout(answer.resolve, 1_000);
  expect((await adding).json.error_code).toBe('store_unavailable');
  expect((await logout).status).toBe(204);
  await harness.restart();
  await renewLease(harness, yan);
  await vi.waitFor(async () => expect(await grantsOf(harness, yan)).toEqual(['open']), SOON);
});
