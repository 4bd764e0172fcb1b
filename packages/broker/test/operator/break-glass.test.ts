/** Whether the broker accepts the break-glass token, how it records each use, and which actions the token never allows. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { OPERATOR_ROLES, type Operators } from '@meshpass/access';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Answer, type Call, type Harness, OPERATOR_TOKEN, startHarness } from '../harness/broker.ts';
import { asOperator, operatorsByGroup, signIn, startWithOperators } from '../harness/operators.ts';

const NO_ROLES = Object.fromEntries(OPERATOR_ROLES.map((role) => [role, []])) as unknown as Operators['roles'];
const PLACE = { file: 'access.yaml', line: 20, column: 7 };

let harness: Harness;
beforeAll(async () => {
  harness = await startWithOperators();
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
  method: 'POST',
  path: '/audit/prune',
  body: JSON.stringify({ before: '2020-01-01T00:00:00Z', reason: 'old' }),
};

it('the broker counts each request with it, including reads and refusals, and no other request', async () => {
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
  expect(row.reason).toContain('the holder of the break-glass token');
});

it('it allows neither pruning nor accepting a restore', async () => {
  expect((await asBreakGlass(prune)).json.error_code).toBe('operator_forbidden');
  expect((await asBreakGlass({ method: 'POST', path: '/audit/restores', body: '{}' })).status).toBe(404);
});

describe('while break-glass is off, as by default', () => {
  let off: Harness;
  beforeAll(async () => {
    off = await startWithOperators({ config: { breakGlass: false } });
  });
  afterAll(() => off?.stop());
  const withToken = (token: string): Promise<Answer> =>
    off.operatorCall({ path: '/admin/sessions', headers: { authorization: `Bearer ${token}` } });

  it('the token that is configured is refused like any other, and the answer explains how to sign in and how to switch it on', async () => {
    for (const token of [OPERATOR_TOKEN, 'a-wrong-token']) {
      const answer = await withToken(token);
      expect(answer).toMatchObject({ status: 401, json: { error_code: 'break_glass_off' } });
      expect(answer.headers['www-authenticate']).toBe('Bearer error="invalid_token"');
      expect(answer.json.error_description).toContain('meshpass login');
      expect(answer.json.error_description).toContain('--break-glass');
    }
    const without = await off.operatorCall('/admin/sessions');
    expect(without).toMatchObject({ status: 401, json: { error_code: 'operator_unauthorized' } });
  });

  it('each refusal is audited and counted, and locks out no operator at the same address', async () => {
    for (let n = 0; n < 12; n++) expect((await withToken(OPERATOR_TOKEN)).json.error_code).toBe('break_glass_off');
    const ada = await signIn(off, 'ada', ['admin']);
    const { rows } = (await asOperator(off, ada, { path: '/audit?last=100' })).json;
    const refusals = rows.filter(({ code }: { code: string | null }) => code === 'break_glass_off');
    expect(refusals.length).toBeGreaterThanOrEqual(12);
    expect(refusals[0]).toMatchObject({
      action: 'operator.list',
      outcome: 'refused',
      subject: null,
      source: '127.0.0.1',
    });
    const { text } = await off.operatorCall('/metrics');
    expect(text).toMatch(
      /meshpass_decisions_total\{action="operator.list",outcome="refused",code="break_glass_off"\} 1[0-9]/,
    );
    expect(text).toMatch(/^meshpass_refusals_total\{code="break_glass_off"\} 1[0-9]$/m);
    expect(text).toContain('meshpass_break_glass_requests_total 0');
  });

  it('readiness and the log warn of a token that is configured in vain, and of a broker without any operator', async () => {
    const ready = async () => (await off.operatorCall('/readyz')).json;
    const idle = expect.stringContaining('an operator token is configured');
    const nobody = expect.stringContaining('this broker has no operators');
    expect(await ready()).toMatchObject({ status: 'ready', break_glass: false, warnings: [idle] });
    off.mesh.setOperators({ ...operatorsByGroup(), roles: NO_ROLES });
    expect((await ready()).warnings).toEqual([idle, nobody]);
    off.mesh.setOperators(undefined);
    expect((await ready()).warnings).toEqual([idle, nobody]);
    const serviceAccounts = [{ place: PLACE, namespace: 'ci', name: 'deployer', roles: ['operator'] as const }];
    off.mesh.setOperators({ ...operatorsByGroup(), roles: NO_ROLES, serviceAccounts });
    expect((await ready()).warnings).toEqual([idle]);
    off.mesh.setOperators(undefined);
    await off.restart();
    expect((await ready()).status).toBe('ready');
    expect(off.log.join('')).toContain('this broker has no operators');
  });

  it('the broker does not read the token file', async () => {
    writeFileSync(join(off.dir, 'operator-token'), 'too short');
    await off.restart();
    expect((await off.operatorCall('/readyz')).status).toBe(200);
  });
});

it('is not switched on without a token', async () => {
  const started = startHarness({ config: { operatorTokenFile: undefined } });
  await expect(started).rejects.toMatchObject({
    code: 'config_invalid',
    message: expect.stringContaining('--operator-token'),
  });
});

it('appears in the log and in readiness while it is on', async () => {
  expect((await harness.operatorCall('/readyz')).json).toMatchObject({ break_glass: true, warnings: [] });
  expect(harness.log.join('')).toContain('break-glass is on');
});
