/** Requests and answers over the API of a whole broker: requesters, approvers, gains of the session, and refusals. */
import { authorize, parseAccess } from '@meshpass/access';
import { ApprovalRequest, ApprovalsResponse } from '@meshpass/identity/approval';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  answer as answerOf,
  ask as askFor,
  auditRows as auditRowsOf,
  grantsOf,
  openWorkspace,
  post,
} from '../harness/approval/approvals.ts';
import { asSession, type Enrolled, type Harness, renewLease, startHarness } from '../harness/broker.ts';

const file = (more = '', leads = '["idp:bob", "idp:carol"]') => `
trust: {issuers: {idp: {issuer: 'https://idp.example', audience: meshpass, signIn: {client: meshpass-cli}}, other: {issuer: 'https://other.example', audience: meshpass}}}
grants:
  dev: {who: [{issuer: idp}], to: [{service: orders.shop, port: 8080}]}
  prod:
    who: [{issuer: idp, when: 'subject != "idp:mallory"'}]
    to: [{service: ledger.shop, port: 8080}]
    approval: {by: {issuer: idp, when: 'subject in ${leads}'}, for: 30m, max: 2h${more}}`;

describe('approvals', () => {
  let harness: Harness;
  const use = (text: string) => {
    const { grants, trust, deny } = parseAccess(text, 'access.yaml');
    harness.mesh.setAccess(grants, [], trust, deny);
  };
  const ask = (who: Enrolled, order?: object) => askFor(harness, who, order);
  const answer = (who: Enrolled, id: string, order?: object) => answerOf(harness, who, id, order);
  const withdraw = (who: Enrolled, id: string) => post(harness, who, '/approvals/withdraw', { id });
  const overview = async (who: Enrolled) =>
    ApprovalsResponse.parse((await asSession(harness, who, { path: '/approvals' })).json);
  const stateOf = async (who: Enrolled, id: string) => (await overview(who)).own.find((one) => one.id === id)?.state;
  const services = (who: Enrolled) => grantsOf(harness, who);
  const auditRows = () => auditRowsOf(harness);

  beforeAll(async () => {
    harness = await startHarness({ parts: () => ({ authorize }) });
  });
  beforeEach(() => {
    use(file());
    // Requests of other tests in this file are allowed again.
    harness.clockAhead += 200_000;
  });
  afterAll(() => harness.stop());

  it('add a grant to the session that asked, at once, and to no other of the same person', async () => {
    const [alice, elsewhere, bob] = await people('alice', 'alice', 'bob');
    expect((await overview(alice!)).requestable).toMatchObject([
      { grant: 'prod', seconds: 1800, longest: 7200, reason_required: true, opens: [{ port: 8080 }] },
    ]);
    const asked = await ask(alice!, { seconds: 3600 });
    expect(asked.status).toBe(200);
    expect(ApprovalRequest.parse(asked.json)).toMatchObject({ state: 'pending', seconds: 3600, reason: 'INC-1' });
    expect(await services(alice!)).toEqual(['dev']);
    expect((await overview(bob!)).to_answer.map(({ id }) => id)).toEqual([asked.json.id]);
    const answered = await answer(bob!, asked.json.id, { reason: 'fine' });
    expect(answered.json).toMatchObject({
      state: 'approved',
      until: expect.closeTo(harness.now() + 3600, -1),
      answers: [{ decision: 'approve', subject: 'idp:bob', via: 'workspace', reason: 'fine' }],
    });
    expect(await services(alice!)).toEqual(['dev', 'prod']);
    expect(await services(elsewhere!)).toEqual(['dev']);
    const rows = await auditRows();
    const row = rows.findLast(({ action }) => action === 'approval.answer');
    expect(row).toMatchObject({ outcome: 'allowed', subject: 'idp:bob', grant_name: 'prod', target: asked.json.id });
    expect(JSON.parse(row!.detail!)).toMatchObject({
      decision: 'approve',
      via: 'workspace',
      state: 'approved',
      requester: { subject: 'idp:alice', session: alice!.session.id },
      entry: expect.stringMatching(/^access.yaml:8:/),
    });
    const widened = rows.findLast(({ action }) => action === 'session.widen');
    expect(widened).toMatchObject({ subject: 'idp:alice', grant_name: 'prod' });
    expect(JSON.parse(widened!.detail!)).toMatchObject({
      cause: 'approved',
      request: asked.json.id,
      decision: row!.id,
    });
  });

  it('end at their time, and open nothing afterwards', async () => {
    const [alice, bob] = await people('alice', 'bob');
    const { id } = (await ask(alice!)).json;
    await answer(bob!, id, { seconds: 60 });
    expect(await services(alice!)).toEqual(['dev', 'prod']);
    harness.clockAhead += 30_000;
    await beat(alice!, bob!);
    harness.clockAhead += 31_000;
    await expect.poll(() => services(alice!)).toEqual(['dev']);
    await expect.poll(() => stateOf(alice!, id)).toBe('ended');
    expect((await answer(bob!, id)).json.error_code).toBe('approval_unknown');
  });

  it("refuse a person's own request, even one of another workspace of theirs", async () => {
    use(file('', '["idp:alice", "idp:bob"]'));
    const [alice, elsewhere] = await people('alice', 'alice');
    const { id } = (await ask(alice!)).json;
    for (const who of [alice!, elsewhere!]) {
      const refused = await answer(who, id);
      expect([refused.status, refused.json.error_code]).toEqual([403, 'approval_own']);
      expect((await overview(who)).to_answer).toEqual([]);
    }
    expect(await services(alice!)).toEqual(['dev']);
  });

  it('refuse people whom "by" does not name, or names no more when they answer', async () => {
    const [alice, bob, dave] = await people('alice', 'bob', 'dave');
    const { id } = (await ask(alice!)).json;
    expect((await answer(dave!, id)).json.error_code).toBe('approval_forbidden');
    use(file('', '["idp:carol"]'));
    expect((await answer(bob!, id)).json.error_code).toBe('approval_forbidden');
    expect(await stateOf(alice!, id)).toBe('pending');
  });

  it('need two different people where two must approve', async () => {
    use(file(', count: 2'));
    const [alice, bob, bobAgain, carol] = await people('alice', 'bob', 'bob', 'carol');
    const { id } = (await ask(alice!, { seconds: 3600 })).json;
    expect((await answer(bob!, id)).json.state).toBe('pending');
    for (const who of [bob!, bobAgain!]) expect((await answer(who, id)).json.error_code).toBe('approval_answered');
    expect(await services(alice!)).toEqual(['dev']);
    const done = await answer(carol!, id, { seconds: 600 });
    expect(done.json).toMatchObject({ state: 'approved', until: expect.closeTo(harness.now() + 600, -1) });
    expect(await services(alice!)).toEqual(['dev', 'prod']);
  });

  it('refuse workloads, because their issuer is not known to confirm people', async () => {
    const [alice, bob] = await people('alice', 'bob');
    const { id } = (await ask(bob!)).json;
    const { grants, deny } = parseAccess(file(), 'access.yaml');
    const idp = { name: 'idp', issuer: 'https://idp.example', audience: 'meshpass', algorithms: ['ES256'] };
    harness.mesh.setAccess(grants, [], { issuers: [{ ...idp, kind: 'generic' }] }, deny);
    expect((await ask(alice!)).json.error_code).toBe('approval_not_offered');
    expect((await overview(alice!)).requestable).toEqual([]);
    expect((await answer(alice!, id)).json.error_code).toBe('approval_forbidden');
  });

  it('do not count approvers who have lost their right when the last one answers', async () => {
    const everybody = '["idp:bob", "idp:carol", "idp:dora"]';
    const later = [
      file(', count: 2', '["idp:carol", "idp:dora"]'),
      `${file(', count: 2', everybody)}\ndeny: [{issuer: idp, when: 'subject == "idp:bob"'}]`,
    ];
    for (const text of later) {
      use(file(', count: 2', everybody));
      harness.clockAhead += 200_000;
      const [alice, bob, carol, dora] = await people('alice', 'bob', 'carol', 'dora');
      const { id } = (await ask(alice!)).json;
      expect((await answer(bob!, id)).json.state).toBe('pending');
      use(text);
      const second = (await answer(carol!, id)).json;
      expect([second.state, second.answers.map((one: { login: string }) => one.login)]).toEqual(['pending', ['carol']]);
      expect(await services(alice!)).toEqual(['dev']);
      const row = (await auditRows()).findLast(({ action }) => action === 'approval.answer');
      expect(JSON.parse(row!.detail!).lost).toMatchObject([{ login: 'bob' }]);
      expect((await answer(dora!, id)).json.state).toBe('approved');
    }
  });

  it('accept one of two simultaneous answers to the same request', async () => {
    const [alice, bob, carol] = await people('alice', 'bob', 'carol');
    const { id } = (await ask(alice!)).json;
    const both = await Promise.all([answer(bob!, id), answer(carol!, id, { decision: 'deny' })]);
    expect(both.map(({ status }) => status).sort()).toEqual([200, 404]);
  });

  it('end once denied, with the reason, and can be requested again', async () => {
    const [alice, bob] = await people('alice', 'bob');
    const { id } = (await ask(alice!)).json;
    const denied = await answer(bob!, id, { decision: 'deny', reason: 'freeze' });
    expect(denied.json).toMatchObject({ state: 'denied', answers: [{ reason: 'freeze' }] });
    expect((await answer(bob!, id)).json.error_code).toBe('approval_unknown');
    expect((await ask(alice!)).status).toBe(200);
  });

  it('can be withdrawn by the session that asked alone, before and after they are answered', async () => {
    const [alice, elsewhere, bob] = await people('alice', 'alice', 'bob');
    const { id } = (await ask(alice!)).json;
    for (const who of [elsewhere!, bob!]) expect((await withdraw(who, id)).json.error_code).toBe('approval_unknown');
    expect((await withdraw(alice!, id)).json.state).toBe('withdrawn');
    expect((await answer(bob!, id)).json.error_code).toBe('approval_unknown');
    const again = (await ask(alice!)).json.id;
    await answer(bob!, again);
    expect(await services(alice!)).toEqual(['dev', 'prod']);
    expect((await withdraw(alice!, again)).json.state).toBe('withdrawn');
    expect(await services(alice!)).toEqual(['dev']);
  });

  it('withdrawn while they are answered leave nothing', async () => {
    const [alice, bob] = await people('alice', 'bob');
    const { id } = (await ask(alice!)).json;
    await Promise.all([answer(bob!, id), withdraw(alice!, id)]);
    expect(await stateOf(alice!, id)).toBe('withdrawn');
    expect(await services(alice!)).toEqual(['dev']);
  });

  it('are refused for a grant that is not offered, for too long, without a reason, or twice', async () => {
    const [alice, mallory] = await people('alice', 'mallory');
    const code = async (who: Enrolled, order: object) => (await ask(who, order)).json.error_code;
    expect(await code(mallory!, {})).toBe('approval_not_offered');
    expect(await code(alice!, { grant: 'dev' })).toBe('approval_not_offered');
    expect(await code(alice!, { grant: 'none' })).toBe('approval_not_offered');
    expect(await code(alice!, { seconds: 7201 })).toBe('request_malformed');
    expect(await code(alice!, { reason: undefined })).toBe('request_malformed');
    expect(await code(alice!, { reason: 'a\u001b[2J' })).toBe('request_malformed');
    expect(await code(alice!, {})).toBeUndefined();
    expect(await code(alice!, {})).toBe('approval_open');
  });

  it('expire without an answer, and with the requesting session', async () => {
    const [alice, bob, carol] = await people('alice', 'bob', 'carol');
    const { id } = (await ask(alice!)).json;
    await asSession(harness, alice!, { method: 'DELETE', path: '/session' });
    expect((await answer(bob!, id)).json.error_code).toBe('approval_unknown');
    await expect
      .poll(async () => (await auditRows()).some((row) => row.action === 'approval.expire' && row.target === id))
      .toBe(true);
    expect((await overview(carol!)).to_answer).toEqual([]);
  });

  it('are bounded for a person', async () => {
    const [alice] = await people('alice');
    const codes: string[] = [];
    for (let n = 0; n < 25; n++) codes.push((await ask(alice!)).json.error_code);
    expect(codes[0]).toBeUndefined();
    expect(codes).toContain('too_many_attempts');
  });

  it('can be listed once a second, and answered by people who listed them', async () => {
    const [alice, bob] = await people('alice', 'bob');
    const { id } = (await ask(alice!)).json;
    const look = async (who: Enrolled, scope: string) =>
      (await asSession(harness, who, { path: `/approvals?scope=${scope}` })).json;
    for (let n = 0; n < 40; n++) {
      harness.clockAhead += 750;
      expect((await look(alice!, 'own')).own).toMatchObject([{ id, state: 'pending' }]);
    }
    const codes: string[] = [];
    for (let n = 0; n < 25; n++) codes.push((await look(bob!, 'all')).error_code);
    expect([codes[0], codes.at(-1)]).toEqual([undefined, 'too_many_attempts']);
    expect((await answer(bob!, id)).json.state).toBe('approved');
    expect((await withdraw(alice!, id)).json.state).toBe('withdrawn');
  });

  it('are the same after a restart: open, approved, and no longer than before', async () => {
    const [alice, bob, carol] = await people('alice', 'bob', 'carol');
    const given = (await ask(alice!)).json.id;
    await answer(bob!, given, { seconds: 300 });
    const open = (await ask(carol!)).json.id;
    await harness.restart();
    expect(await services(alice!)).toEqual(['dev', 'prod']);
    expect(await stateOf(carol!, open)).toBe('pending');
    expect((await answer(bob!, open)).json.state).toBe('approved');
    expect((await withdraw(alice!, given)).json.state).toBe('withdrawn');
    expect(await services(alice!)).toEqual(['dev']);
  });

  /** Opens a session for each subject, in a workspace of their own. */
  async function people(...subjects: string[]): Promise<Enrolled[]> {
    const enrolled: Enrolled[] = [];
    for (const subject of subjects) enrolled.push(await openWorkspace(harness, subject));
    return enrolled;
  }

  async function beat(...all: Enrolled[]): Promise<void> {
    for (const who of all) await renewLease(harness, who);
  }
});
