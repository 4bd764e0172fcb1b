/** What `operators.secondPerson` lists runs once, after another operator has confirmed exactly that. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { needsSecondPerson } from '../../src/operator/confirmations.ts';
import { type Answer, type Harness, OPERATOR_TOKEN, session, startHarness } from '../harness/broker.ts';
import { grant } from '../harness/mesh.ts';
import { asOperator, operatorsByGroup, type SignedIn, signIn } from '../harness/operators.ts';

let harness: Harness;
let ada: SignedIn;
let olga: SignedIn;
beforeAll(async () => {
  harness = await startHarness();
  harness.mesh.setAccess([grant('dev')]);
});
afterAll(() => harness?.stop());
beforeEach(async () => {
  harness.clockAhead += 16 * 60_000;
  harness.mesh.setOperators(operatorsByGroup({ secondPerson: ['sessions.close-all', 'rotation.revoke'] }));
  ada = await signIn(harness, 'ada', ['admin']);
  olga = await signIn(harness, 'olga', ['security-officer']);
});

const reason = 'a leak';
const post = (path: string, body: object) => ({ method: 'POST', path, body: JSON.stringify(body) });
const closeAll = post('/admin/sessions/close', { all: true, reason });
const ask = (who: SignedIn, call = closeAll) => asOperator(harness, who, call);
const confirm = (who: SignedIn, { id, digest }: { id: string; digest: string }) =>
  asOperator(harness, who, post('/operator/confirmations/confirm', { id, digest }));
const waiting = async () =>
  (await asOperator(harness, ada, { path: '/operator/confirmations' })).json.confirmations as { id: string }[];
const live = async () => (await asOperator(harness, ada, { path: '/admin/sessions' })).json.sessions.length as number;
const rowOf = async (answer: Answer) =>
  (await asOperator(harness, ada, { path: `/audit?decision=${answer.json.decision_id}` })).json.rows[0];

describe('an action that needs a second person', () => {
  it('waits, and runs once when another operator has confirmed it, with both names in the audit log', async () => {
    await session(harness, 'alice');
    const asked = await ask(ada);
    expect(asked.status).toBe(202);
    expect(await live()).toBe(1);
    const { confirmation } = asked.json;
    const shown = await asOperator(harness, olga, { path: `/operator/confirmations?id=${confirmation.id}` });
    expect(shown.json.confirmations).toEqual([
      expect.objectContaining({
        ...{ id: confirmation.id, action: 'sessions.close-all', subject: 'idp:ada', reason },
        parameters: { all: true, reason },
      }),
    ]);
    const done = await confirm(olga, confirmation);
    expect([done.status, done.json.closed.length]).toEqual([200, 1]);
    expect(await live()).toBe(0);
    expect((await confirm(olga, confirmation)).json.error_code).toBe('confirmation_unknown');
    const { rows } = (await asOperator(harness, ada, { path: '/audit?last=1000' })).json;
    const of = (action: string) =>
      rows.find(
        (row: { action: string; target: string | null; detail: string }) =>
          action === row.action && (row.target === confirmation.id || row.detail?.includes(confirmation.id)),
      );
    expect(of('operator.ask')).toMatchObject({ outcome: 'allowed', subject: 'idp:ada' });
    expect(of('operator.confirm')).toMatchObject({ outcome: 'allowed', subject: 'idp:olga', target: confirmation.id });
    expect(of('operator.close')).toMatchObject({
      ...{ outcome: 'allowed', subject: 'idp:ada' },
      reason: 'ada (idp:ada) asked for it: a leak (confirmed by olga (idp:olga)).',
    });
    expect(JSON.parse(of('operator.close').detail)).toMatchObject({
      ...{ does: 'sessions.close-all', confirmed_by: 'olga (idp:olga)', confirmation: confirmation.id },
    });
  });

  it('runs once where two confirm at the same time', async () => {
    const { confirmation } = (await ask(ada)).json;
    const bob = await signIn(harness, 'bob', ['admin']);
    const answers = await Promise.all([confirm(olga, confirmation), confirm(bob, confirmation)]);
    expect(answers.map(({ status }) => status).toSorted()).toEqual([200, 404]);
  });

  it('is never confirmed by who asked, also from another session of theirs; and that is in the audit log', async () => {
    const { confirmation } = (await ask(ada)).json;
    const own = await confirm(ada, confirmation);
    expect(own).toMatchObject({ status: 403, json: { error_code: 'approval_own' } });
    expect(await rowOf(own)).toMatchObject({ action: 'operator.confirm', outcome: 'refused', subject: 'idp:ada' });
    const again = await signIn(harness, 'ada', ['admin']);
    expect((await confirm(again, confirmation)).json.error_code).toBe('approval_own');
    expect(await waiting()).toHaveLength(1);
  });

  it('is confirmed only by somebody whose role may do it', async () => {
    const { confirmation } = (await ask(ada)).json;
    const worker = await signIn(harness, 'worker', ['operator']);
    const refused = await confirm(worker, confirmation);
    expect(refused).toMatchObject({ status: 403, json: { error_code: 'operator_forbidden' } });
    expect(refused.json.error_description).toContain('sessions.close-all');
    const viewer = await signIn(harness, 'viewer', ['viewer']);
    expect((await confirm(viewer, confirmation)).json.error_code).toBe('operator_forbidden');
  });

  it('is bound to every parameter by its digest, in the store as well', async () => {
    const { confirmation } = (await ask(ada)).json;
    const other = (await ask(ada, post('/admin/sessions/close', { all: true, reason: 'another' }))).json.confirmation;
    expect(other.digest).not.toBe(confirmation.digest);
    expect((await confirm(olga, { id: confirmation.id, digest: other.digest })).json.error_code).toBe(
      'confirmation_void',
    );
    expect((await confirm(olga, confirmation)).status).toBe(200);
  });

  it('expires after 15 minutes', async () => {
    const { confirmation } = (await ask(ada)).json;
    harness.clockAhead += 15 * 60_000 + 1_000;
    expect((await confirm(olga, confirmation)).json.error_code).toBe('confirmation_unknown');
    expect(await waiting()).toHaveLength(0);
  });

  it('waits three times for one person at most, and others are not kept from asking', async () => {
    const answers = await Promise.all([1, 2, 3, 4].map(() => ask(ada)));
    expect(answers.map(({ status }) => status).toSorted()).toEqual([202, 202, 202, 429]);
    expect(answers.find(({ status }) => status === 429)!.json.error_code).toBe('confirmations_too_many');
    expect((await ask(olga)).status).toBe(202);
  });

  it('is void when who asked is signed out, or may not do it any more', async () => {
    const first = (await ask(ada)).json.confirmation;
    const second = (await ask(olga)).json.confirmation;
    await asOperator(harness, ada, { method: 'DELETE', path: '/operator/session' });
    expect((await confirm(olga, first)).json.error_code).toBe('confirmation_void');
    const { roles } = operatorsByGroup();
    const viewer = roles['security-officer'];
    harness.mesh.setOperators(operatorsByGroup({ roles: { ...roles, viewer, 'security-officer': [] } }));
    const bob = await signIn(harness, 'bob', ['admin']);
    expect((await confirm(bob, second)).json.error_code).toBe('confirmation_void');
  });

  it('is still there after a takeover, and runs then', async () => {
    const { confirmation } = (await ask(ada)).json;
    await harness.restart();
    expect(await waiting()).toMatchObject([{ id: confirmation.id }]);
    expect((await confirm(olga, confirmation)).status).toBe(200);
    await harness.restart();
    expect((await confirm(olga, confirmation)).json.error_code).toBe('confirmation_unknown');
  });

  it('cannot be asked for or confirmed with the break-glass token, which is no person', async () => {
    const headers = { authorization: `Bearer ${OPERATOR_TOKEN}`, 'content-type': 'application/json' };
    const asked = await harness.operatorCall({ ...closeAll, headers });
    expect(asked).toMatchObject({ status: 403, json: { error_code: 'operator_forbidden' } });
    const { id, digest } = (await ask(ada)).json.confirmation;
    const call = post('/operator/confirmations/confirm', { id, digest });
    expect((await harness.operatorCall({ ...call, headers })).json.error_code).toBe('operator_forbidden');
  });

  const withdraw = (who: SignedIn, id: string, more = {}) =>
    asOperator(harness, who, post('/operator/confirmations/withdraw', { id, ...more }));

  it('is withdrawn by who asked, and then nobody confirms it, also after a takeover', async () => {
    const { confirmation } = (await ask(ada)).json;
    const done = await withdraw(ada, confirmation.id, { reason: 'wrong day' });
    expect(done).toMatchObject({
      status: 200,
      json: { withdrawn: { id: confirmation.id, action: 'sessions.close-all' } },
    });
    const [row] = (await asOperator(harness, ada, { path: '/audit?last=1' })).json.rows;
    expect(row).toMatchObject({
      ...{ action: 'operator.withdraw', outcome: 'allowed', subject: 'idp:ada', target: confirmation.id },
      reason: 'ada (idp:ada) withdrew sessions.close-all, for which they had asked: wrong day',
    });
    expect(await waiting()).toHaveLength(0);
    expect((await confirm(olga, confirmation)).json.error_code).toBe('confirmation_unknown');
    expect((await withdraw(ada, confirmation.id)).json.error_code).toBe('confirmation_unknown');
    await harness.restart();
    expect((await confirm(olga, confirmation)).json.error_code).toBe('confirmation_unknown');
    // It makes room for another.
    expect((await ask(ada)).status).toBe(202);
  });

  it('is withdrawn by another only if their role allows the action', async () => {
    const { confirmation } = (await ask(ada)).json;
    const worker = await signIn(harness, 'worker', ['operator']);
    const refused = await withdraw(worker, confirmation.id);
    expect(refused).toMatchObject({ status: 403, json: { error_code: 'operator_forbidden' } });
    expect(await rowOf(refused)).toMatchObject({ action: 'operator.withdraw', outcome: 'refused' });
    expect(await waiting()).toHaveLength(1);
    const done = await withdraw(olga, confirmation.id);
    expect((await asOperator(harness, ada, { path: '/audit?last=1' })).json.rows[0].reason).toBe(
      'olga (idp:olga) withdrew sessions.close-all, for which ada (idp:ada) had asked.',
    );
    expect(done.status).toBe(200);
  });

  it('is either confirmed or withdrawn, where both come at the same time', async () => {
    await session(harness, 'alice');
    const { confirmation } = (await ask(ada)).json;
    const [confirmed, withdrawn] = await Promise.all([confirm(olga, confirmation), withdraw(ada, confirmation.id)]);
    expect([confirmed.status, withdrawn.status].toSorted()).toEqual([200, 404]);
    expect(await live()).toBe(confirmed.status === 200 ? 0 : 1);
  });

  it('is no other: closing the sessions of one user runs at once', async () => {
    expect((await ask(ada, post('/admin/sessions/close', { user: 'nobody' }))).status).toBe(200);
  });
});

it.each([
  ['policy.apply', ['policy.apply'], true],
  ['policy.apply-unknown', ['policy.apply'], true],
  ['policy.rollback', ['policy.apply'], false],
  ['policy.apply-trust', ['audit.prune'], true],
  ['policy.rollback-trust', ['audit.prune'], true],
  ['policy.apply-trust', [], false],
  ['sessions.close', ['sessions.close-all'], false],
] as const)('%s where %j is listed: %s', (action, listed, needed) => {
  expect(needsSecondPerson(action, listed)).toBe(needed);
});
