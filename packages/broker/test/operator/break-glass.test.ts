/** What becomes known when somebody acts with the operator token, and what it never allows. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Call, type Harness, OPERATOR_TOKEN, startHarness } from '../harness/broker.ts';
import { asOperator, operatorsByGroup, signIn } from '../harness/operators.ts';

let harness: Harness;
beforeAll(async () => {
  harness = await startHarness();
  harness.mesh.setOperators(operatorsByGroup());
});
afterAll(() => harness?.stop());

const asBreakGlass = (call: Call, token = OPERATOR_TOKEN) =>
  harness.operatorCall({
    ...call,
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
  });
const counted = async () =>
  Number(/^meshpass_break_glass_requests_total (\d+)$/m.exec((await harness.operatorCall('/metrics')).text)?.[1]);
const prune: Call = {
  ...{ method: 'POST', path: '/audit/prune' },
  body: JSON.stringify({ before: '2020-01-01T00:00:00Z', reason: 'old' }),
};

it('each request with it is counted, reads and refusals too; nothing else is', async () => {
  expect(await counted()).toBe(0);
  const ada = await signIn(harness, 'ada', ['admin']);
  expect((await asOperator(harness, ada, { path: '/admin/sessions' })).status).toBe(200);
  expect((await asBreakGlass({ path: '/admin/sessions' }, 'a-wrong-token')).status).toBe(401);
  expect(await counted()).toBe(0);
  expect((await asBreakGlass({ path: '/admin/sessions' })).status).toBe(200);
  expect((await asBreakGlass(prune)).status).toBe(403);
  expect(await counted()).toBe(2);
});

it('rows of the audit log name it', async () => {
  const close = { method: 'POST', path: '/admin/sessions/close', body: JSON.stringify({ user: 'nobody' }) };
  expect((await asBreakGlass(close)).status).toBe(200);
  const ada = await signIn(harness, 'ada', ['admin']);
  const { rows } = (await asOperator(harness, ada, { path: '/audit?last=100' })).json;
  const row = rows.findLast(({ action }: { action: string }) => action === 'operator.close');
  expect(row).toMatchObject({ subject: 'break-glass', rule: 'break-glass', outcome: 'allowed' });
  expect(row.reason).toContain('whoever has the break-glass token');
});

it('it can neither prune nor accept a restore', async () => {
  expect((await asBreakGlass(prune)).json.error_code).toBe('operator_forbidden');
  expect((await asBreakGlass({ method: 'POST', path: '/audit/restores', body: '{}' })).status).toBe(404);
});
