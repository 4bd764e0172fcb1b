/** Grants that people take without an approval, and reviews afterwards, over the API of a whole broker. */
import { ApprovalRequest } from '@meshpass/identity/approval';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type Enrolled, renewLease } from '../../harness/broker.ts';
import { asOperator, signIn } from '../../harness/operators.ts';
import { accessFile, startWorld, type World } from './world.ts';

const file = (emergency = '{for: 20m, within: 24h}', more = '') =>
  accessFile(
    ['prod', 'stage', 'ledger']
      .map(
        (name) => `  ${name}:
    who: [{issuer: idp, when: 'subject != "idp:mallory"'}]
    to: [{service: ledger.shop, port: 8080}]
    approval:
      by: {issuer: idp, when: 'subject in ["idp:bob", "idp:carol", "idp:lead"]'}
      emergency: ${emergency}`,
      )
      .join('\n'),
    more,
  );

describe('an emergency', () => {
  let world: World;
  let persons = 0;
  beforeAll(async () => {
    world = await startWorld();
  });
  beforeEach(() => {
    world.use(file());
    world.harness.clockAhead += 200_000;
  });
  afterAll(() => world.harness.stop());

  const take = (who: Enrolled, order: object = {}) =>
    world.post(who, '/approvals/emergency', { grant: 'prod', reason: 'INC-1', ...order });
  const review = (who: Enrolled, id: string, decision = 'accept') =>
    world.post(who, '/approvals/review', { id, decision, reason: 'seen' });
  const code = async (call: ReturnType<typeof take>) => (await call).json.error_code;
  /** People of this test only, because an emergency stays with them until it is reviewed. */
  const stranger = () => `p${persons++}`;
  const clear = async (who: Enrolled, ...ids: readonly string[]) => {
    for (const id of ids) expect((await review(who, id)).status).toBe(200);
  };

  it('gives the grant at once to the session, with an audit row and a notice to reviewers', async () => {
    const taker = stranger();
    const [alice, elsewhere, bob, dave] = await world.people(taker, taker, 'bob', 'dave');
    expect((await world.overview(alice!)).requestable[0]).toMatchObject({
      grant: 'prod',
      approval: expect.not.stringContaining('emergency'),
      emergency: { longest: 1200, review: expect.stringContaining('reviewed within 24h by') },
    });
    const taken = await take(alice!, { seconds: 600 });
    const until = expect.closeTo(world.harness.now() + 600, -1);
    expect(ApprovalRequest.parse(taken.json)).toMatchObject({
      state: 'approved',
      reason: 'INC-1',
      until,
      answers: [],
      emergency: { state: 'open', review_by: expect.closeTo(world.harness.now() + 86_400, -1), reviews: [] },
    });
    const { id } = taken.json;
    expect([await world.grants(alice!), await world.grants(elsewhere!)]).toEqual([['dev', 'prod'], ['dev']]);
    const row = (await world.rows('approval.emergency')).at(-1)!;
    expect(row).toMatchObject({
      outcome: 'allowed',
      subject: `idp:${taker}`,
      grant_name: 'prod',
      target: id,
      reason: 'INC-1',
    });
    expect(JSON.parse(row.detail!)).toMatchObject({ seconds: 600, until, review_by: taken.json.emergency.review_by });
    const widened = (await world.rows('session.widen')).at(-1)!;
    expect(JSON.parse(widened.detail!)).toMatchObject({ cause: 'emergency', request: id, decision: row.id });
    expect(await world.metric('meshpass_emergency_reviews{state="open"}')).toBe(1);
    expect(await world.metric('meshpass_grants_gained_total{cause="emergency"}')).toBe(1);
    expect((await world.overview(bob!)).to_review.map((one) => one.id)).toEqual([id]);
    expect((await world.overview(dave!)).to_review).toEqual([]);
    await clear(bob!, id);
    expect(await world.metric('meshpass_emergency_reviews{state="open"}')).toBe(0);
    expect(await world.grants(alice!)).toEqual(['dev', 'prod']);
  });

  it('ends at its time, and can still be reviewed', async () => {
    const [alice, bob] = await world.people(stranger(), 'bob');
    const { id } = (await take(alice!, { seconds: 60 })).json;
    world.harness.clockAhead += 30_000;
    for (const who of [alice!, bob!]) await renewLease(world.harness, who);
    world.harness.clockAhead += 31_000;
    await expect.poll(() => world.grants(alice!)).toEqual(['dev']);
    await expect.poll(async () => (await world.overview(alice!)).own[0]?.state).toBe('ended');
    expect(await code(world.post(bob!, '/approvals/answer', { id, decision: 'approve' }))).toBe('approval_unknown');
    expect(await code(world.post(alice!, '/approvals/withdraw', { id }))).toBe('approval_unknown');
    const reviewed = (await review(bob!, id)).json;
    expect(reviewed).toMatchObject({
      state: 'ended',
      emergency: { state: 'accepted', reviews: [{ decision: 'accept', subject: 'idp:bob' }] },
    });
    expect(await code(review(bob!, id))).toBe('approval_unknown');
    const row = (await world.rows('approval.review')).findLast((one) => one.target === id && one.outcome === 'allowed');
    expect(JSON.parse(row!.detail!)).toMatchObject({
      decision: 'accept',
      via: 'workspace',
      state: 'accepted',
      taker: { session: alice!.session.id },
      entry: expect.stringMatching(/^access.yaml:/),
    });
  });

  it('cannot be reviewed by the person who took it, in any of their workspaces, nor by people outside "review"', async () => {
    const [alice, elsewhere, dave, bob] = await world.people('lead', 'lead', 'dave', 'bob');
    const { id } = (await take(alice!)).json;
    for (const who of [alice!, elsewhere!]) {
      expect(await code(review(who, id))).toBe('approval_own');
      expect((await world.overview(who)).to_review).toEqual([]);
    }
    expect(await code(review(dave!, id))).toBe('approval_forbidden');
    world.use(file('{review: {issuer: idp, when: subject == "idp:dave"}}'));
    expect(await code(review(bob!, id))).toBe('approval_forbidden');
    expect((await world.overview(dave!)).to_review.map((one) => one.id)).toEqual([id]);
    await clear(dave!, id);
  });

  it('ends at once on an objection, and bars the person who took it until a reviewer accepts it', async () => {
    const taker = stranger();
    const [alice, again, bob, carol] = await world.people(taker, taker, 'bob', 'carol');
    const { id } = (await take(alice!)).json;
    expect((await review(bob!, id, 'object')).json).toMatchObject({
      state: 'revoked',
      emergency: { state: 'objected' },
    });
    expect(await world.grants(alice!)).toEqual(['dev']);
    const row = (await world.rows('approval.review')).findLast((one) => one.outcome === 'allowed')!;
    expect(JSON.parse(row.detail!)).toMatchObject({ decision: 'object', state: 'objected', ended: true });
    expect(await world.metric('meshpass_emergency_reviews{state="objected"}')).toBe(1);
    for (const who of [alice!, again!]) {
      const refused = await take(who, { grant: 'stage' });
      expect([refused.status, refused.json.error_code]).toEqual([403, 'emergency_barred']);
      expect(refused.json.error_description).toMatch(/^bob objected to your emergency .* meshpass review .* --accept/);
    }
    const [offer] = (await world.overview(alice!)).requestable;
    expect(offer!.emergency!.barred).toContain(id);
    expect(await code(review(carol!, id, 'object'))).toBe('approval_answered');
    expect(await code(review(alice!, id))).toBe('approval_own');
    await clear(carol!, id);
    const second = (await take(again!)).json.id;
    await clear(bob!, second);
  });

  it('is refused without a reason, for too long, to people without the offer, and if it is already active', async () => {
    const [alice, mallory, bob] = await world.people(stranger(), 'mallory', 'bob');
    expect(await code(take(alice!, { reason: undefined }))).toBe('request_malformed');
    expect(await code(take(alice!, { reason: ' ' }))).toBe('request_malformed');
    expect(await code(take(alice!, { seconds: 1201 }))).toBe('request_malformed');
    expect(await code(take(alice!, { grant: 'dev' }))).toBe('emergency_not_offered');
    expect(await code(take(mallory!))).toBe('emergency_not_offered');
    const refused = (await world.rows('approval.emergency')).at(-1);
    expect(refused).toMatchObject({ outcome: 'refused', code: 'emergency_not_offered', subject: 'idp:mallory' });
    world.use(file('{who: {issuer: idp, when: subject == "idp:bob"}}'));
    expect(await code(take(alice!))).toBe('emergency_not_offered');
    expect((await world.overview(alice!)).requestable[0]!.emergency).toBeUndefined();
    world.use(file());
    const { id } = (await take(alice!)).json;
    expect(await code(take(alice!))).toBe('approval_open');
    expect(await world.grants(alice!)).toEqual(['dev', 'prod']);
    await clear(bob!, id);
  });

  it('works while a request waits, whose approval extends the grant', async () => {
    const [alice, bob] = await world.people(stranger(), 'bob');
    const asked = (await world.post(alice!, '/approvals', { grant: 'prod', reason: 'INC-1' })).json.id;
    const taken = (await take(alice!)).json;
    const approved = (await world.post(bob!, '/approvals/answer', { id: asked, decision: 'approve' })).json;
    expect(approved.until).toBeGreaterThan(taken.until);
    await clear(bob!, taken.id);
  });

  it('works after a denial, and again after an operator revoked it: only an objection bars', async () => {
    world.use(file(undefined, 'operators: {admin: [{issuer: idp, claims: {groups: admin}}]}'));
    const [alice, bob] = await world.people(stranger(), 'bob');
    const asked = (await world.post(alice!, '/approvals', { grant: 'prod', reason: 'INC-1' })).json.id;
    await world.post(bob!, '/approvals/answer', { id: asked, decision: 'deny', reason: 'not now' });
    const { id } = (await take(alice!)).json;
    const admin = await signIn(world.harness, 'ada', ['admin']);
    const body = JSON.stringify({ id, reason: 'no' });
    const revoked = await asOperator(world.harness, admin, { method: 'POST', path: '/admin/approvals/revoke', body });
    expect(revoked.json).toMatchObject({ state: 'revoked', emergency: { state: 'open' } });
    expect(await world.grants(alice!)).toEqual(['dev']);
    const again = (await take(alice!)).json;
    expect(again.state).toBe('approved');
    await clear(bob!, id, again.id);
  });

  it('waits for reviews of those before: two of a person, five of a grant', async () => {
    const [alice, bob, ...others] = await world.people(
      ...[stranger(), 'bob', stranger(), stranger(), stranger(), stranger(), stranger()],
    );
    const ids = [(await take(alice!, { grant: 'stage' })).json.id, (await take(alice!)).json.id];
    expect(await code(take(alice!, { grant: 'ledger' }))).toBe('emergency_too_many');
    for (const one of others.slice(0, 4)) ids.push((await take(one)).json.id);
    expect(await code(take(others[4]!))).toBe('emergency_too_many');
    await clear(bob!, ...ids);
    const last = (await take(others[4]!)).json.id;
    await clear(bob!, last);
  });

  it('that was not reviewed in time bars the person who took it, even at the broker that takes over', async () => {
    const taker = stranger();
    const [before] = await world.people(taker);
    const { id } = (await take(before!)).json;
    world.harness.clockAhead += 86_401_000;
    await expect
      .poll(async () => (await world.rows('approval.overdue')).filter((row) => row.target === id))
      .toHaveLength(1);
    await world.harness.restart();
    expect(await world.metric('meshpass_emergency_reviews{state="overdue"}')).toBe(1);
    const [alice, bob] = await world.people(taker, 'bob');
    expect((await world.overview(bob!)).to_review).toMatchObject([{ id, emergency: { state: 'overdue' } }]);
    const refused = (await take(alice!)).json;
    expect(refused).toMatchObject({ error_code: 'emergency_barred', error_description: expect.stringContaining(id) });
    expect((await world.rows('approval.overdue')).filter((row) => row.target === id)).toHaveLength(1);
    await clear(bob!, id);
    const again = (await take(alice!)).json;
    expect(again.state).toBe('approved');
    await clear(bob!, again.id);
  });

  it('continues at the broker that takes over: active, and to be reviewed', async () => {
    const [alice, bob] = await world.people(stranger(), 'bob');
    const { id } = (await take(alice!)).json;
    await world.harness.restart();
    expect(await world.grants(alice!)).toEqual(['dev', 'prod']);
    expect((await review(bob!, id, 'object')).json.state).toBe('revoked');
    expect(await world.grants(alice!)).toEqual(['dev']);
    await world.harness.restart();
    expect(await world.grants(alice!)).toEqual(['dev']);
    expect(await code(take(alice!))).toBe('emergency_barred');
    await clear(bob!, id);
  });

  it('is reviewed by the people whom the file named at its start, if the grant no longer exists', async () => {
    const [alice, bob] = await world.people(stranger(), 'bob');
    const { id } = (await take(alice!)).json;
    world.use(accessFile(''));
    await expect.poll(() => world.grants(alice!)).toEqual(['dev']);
    await clear(bob!, id);
  });

  it('is reviewed by a named operator, whose role alone is not enough', async () => {
    const operators = 'operators: {approver: [{issuer: idp, claims: {groups: approver}}]}';
    world.use(file('{}', operators));
    const [alice] = await world.people(stranger());
    const { id } = (await take(alice!)).json;
    const order = {
      method: 'POST',
      path: '/admin/approvals/review',
      body: JSON.stringify({ id, decision: 'object', reason: 'why?' }),
    };
    const role = await signIn(world.harness, 'eve', ['approver']);
    expect((await asOperator(world.harness, role, order)).json.error_code).toBe('approval_forbidden');
    const lead = await signIn(world.harness, 'carol', ['approver']);
    expect((await asOperator(world.harness, lead, order)).json).toMatchObject({ state: 'revoked' });
    expect(await world.grants(alice!)).toEqual(['dev']);
    const [bob] = await world.people('bob');
    await clear(bob!, id);
  });
});
