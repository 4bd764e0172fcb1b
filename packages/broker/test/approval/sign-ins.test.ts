/** Sign-ins distinguish people, and show that two accounts belong to one person. */
import { type Access, authorize, parseAccess } from '@meshpass/access';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { answer as answerOf, openWorkspace, post } from '../harness/approval/approvals.ts';
import { asSession, type Enrolled, type Harness, newKey, startHarness } from '../harness/broker.ts';
import {
  CLIENT,
  claimsFor,
  enrolSignedIn,
  OKTA,
  type SignInProvider,
  signIn,
  signInProvider,
} from '../harness/sign-in.ts';

const FILE = `
trust:
  issuers:
    idp: {issuer: 'https://idp.example', audience: meshpass, signIn: {client: meshpass-cli}}
    okta: {issuer: '${OKTA}', audience: meshpass, signIn: {client: ${CLIENT}}}
grants:
  dev: {who: [{issuer: idp}, {issuer: okta}], to: [{service: orders.shop, port: 8080}]}
  prod:
    who: [{issuer: idp}]
    to: [{service: ledger.shop, port: 8080}]
    approval: {by: [{issuer: idp}, {issuer: okta}], for: 30m, reason: optional, emergency: {}}`;

describe('sign-ins', () => {
  let harness: Harness;
  let okta: SignInProvider;

  beforeAll(async () => {
    okta = await signInProvider();
    const access: Access = parseAccess(FILE, 'access.yaml');
    harness = await startHarness({
      parts: (clock, { idp, mesh }) => ({ authorize, ...okta.parts(idp, mesh.access, clock) }),
    });
    harness.mesh.setAccess(access.grants, [], access.trust);
  });
  afterAll(() => harness?.stop());

  const workspace = (subject: string) => openWorkspace(harness, subject);
  const signedIn = async (who: Enrolled, sub: string) => {
    const done = await signIn(harness, who, await okta.sign(claimsFor(harness, who, { sub })));
    expect(done.status).toBe(200);
  };
  const answer = async (who: Enrolled, id: string) => (await answerOf(harness, who, id)).json;

  it('that two accounts share make them one person, even if the requester signs in later', async () => {
    const [alice, second, bob] = [await workspace('alice'), await workspace('alice-2'), await workspace('bob')];
    const { id } = (await post(harness, alice, '/approvals', { grant: 'prod' })).json;
    await signedIn(second, '00u1');
    await signedIn(alice, '00u1');
    expect((await answer(second, id)).error_code).toBe('approval_own');
    const { json } = await asSession(harness, second, { path: '/approvals' });
    expect(json.to_answer).toEqual([]);
    await signedIn(bob, '00u2');
    expect(await answer(bob, id)).toMatchObject({ state: 'approved', answers: [{ subject: 'idp:bob' }] });
  });

  it('in any live session identify the person of an account, even of a workspace without a sign-in', async () => {
    const [asks, first, second, answers, bob] = [
      ...[await workspace('greta'), await workspace('greta')],
      ...[await workspace('greta-2'), await workspace('greta-2'), await workspace('bob')],
    ];
    const { id } = (await post(harness, asks!, '/approvals', { grant: 'prod' })).json;
    for (const who of [first!, second!]) await signedIn(who, '00u6');
    expect((await answer(answers!, id)).error_code).toBe('approval_own');
    expect((await asSession(harness, answers!, { path: '/approvals' })).json.to_answer).toEqual([]);
    expect(await answer(bob!, id)).toMatchObject({ state: 'approved' });
  });

  it('make a requester comparable with an approver of another issuer', async () => {
    const dave = await workspace('dave');
    const ofOkta = async (sub: string): Promise<Enrolled> => {
      const key = newKey();
      const token = await okta.sign(claimsFor(harness, { key }, { sub }));
      const opened = await enrolSignedIn(harness, key, token);
      expect(opened.status).toBe(200);
      return { ...opened.json, key } as Enrolled;
    };
    const [carol, himself] = [await ofOkta('00u3'), await ofOkta('00u4')];
    const { id } = (await post(harness, dave, '/approvals', { grant: 'prod' })).json;
    const refused = await answer(carol, id);
    expect(refused).toMatchObject({ error_code: 'approval_not_comparable' });
    expect(refused.error_description).toContain('meshpass sign-in');
    await signedIn(dave, '00u4');
    expect((await answer(himself, id)).error_code).toBe('approval_own');
    expect(await answer(carol, id)).toMatchObject({ state: 'approved', answers: [{ subject: 'okta:00u3' }] });
  });

  it('that two accounts share make them one person, who reviews no emergency of theirs and is barred with both', async () => {
    const [erin, second, frank] = [await workspace('erin'), await workspace('erin-2'), await workspace('frank')];
    await signedIn(erin, '00u5');
    await signedIn(second, '00u5');
    const take = async (who: Enrolled) =>
      (await post(harness, who, '/approvals/emergency', { grant: 'prod', reason: 'x' })).json;
    const review = async (who: Enrolled, decision: string) =>
      (await post(harness, who, '/approvals/review', { id, decision, reason: 'x' })).json;
    const { id } = await take(erin);
    expect((await review(second, 'accept')).error_code).toBe('approval_own');
    expect(await review(frank, 'object')).toMatchObject({ emergency: { state: 'objected' } });
    expect((await take(second)).error_code).toBe('emergency_barred');
    expect((await review(second, 'accept')).error_code).toBe('approval_own');
  });
});
