/**
 * Just-in-time access on the real mesh, in each way of approval: a developer is refused and asks; another person approves from a workspace, as
 * an operator, on the broker's page in a real browser, or through a signed webhook. Calls pass until the approval expires, or is withdrawn.
 * Own, forged, replayed and late answers grant nothing.
 */
import type { ApprovalRequest, ApprovalsResponse } from '@meshpass/identity/approval';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { HAS_BROWSER } from '../../packages/broker/test/browser/chromium.ts';
import { until } from '../mesh.ts';
import { ALICE, BOB, openWays, type Ways } from './ways.ts';

const WAYS = ['workspace', 'operator', 'page', 'webhook'] as const;
type Way = (typeof WAYS)[number];

let ways: Ways;
beforeAll(async () => {
  ways = await openWays(WAYS);
}, 240_000);
afterAll(() => ways?.close());

const ask = (way: Way, ...more: string[]) =>
  ways.json<ApprovalRequest>('workspace', 'request', way, '--reason', `INC ${way}`, ...more);
const rows = async (id: string) => (await ways.dataPath.audit()).filter(({ target }) => target === id);
const told = async (id: string) =>
  (await rows(id)).map(({ action, outcome, subject, code, detail }) => [
    ...[action, outcome, subject?.replace(/^github:\d+$/, 'github'), code],
    (JSON.parse(detail ?? '{}') as { via?: string }).via,
  ]);

describe('a developer', () => {
  const asked = new Map<Way, ApprovalRequest>();

  it('is refused, learns which grant to request, and requests it', async () => {
    for (const way of WAYS) expect(await ways.call(`/ways/${way}`), way).toBe('403');
    expect(await ways.call('/orders/1')).toBe('200');
    const why = await ways.meshpass('workspace', 'explain', 'http://orders.shop:8080/ways/page');
    expect(why.code).toBe(1);
    expect(why.stdout).toContain('meshpass request page');
    expect((await ways.meshpass('workspace', 'request', 'page')).stderr).toMatch(/requires a reason: add --reason/);
    for (const way of WAYS) asked.set(way, await ask(way));
  }, 120_000);

  it('gets access by an approval from a workspace: not their own, nor that of a person who is not in the team at this moment', async () => {
    const { id } = asked.get('workspace')!;
    expect((await ways.meshpass('workspace', 'approve', id)).stderr).toContain('[approval_own]');
    expect((await ways.meshpass('workspace-2', 'approve', id)).stderr).toContain('[approval_forbidden]');
    await ways.dataPath.github.addToTeam('acme/payments-leads', 'bob');
    const { to_answer } = await ways.json<ApprovalsResponse>('workspace-2', 'requests');
    expect(to_answer.map((one) => one.id)).toContain(id);
    const done = await ways.json<ApprovalRequest>('workspace-2', 'approve', id, '--reason', 'go ahead');
    expect(done).toMatchObject({ state: 'approved', answers: [{ login: 'bob', via: 'workspace' }] });
    asked.set('workspace', done);
    await until(
      () => ways.call('/ways/workspace'),
      (code) => code === '404',
      60,
    );
    // The approver gains no access by it, and the developer no other.
    expect((await ways.meshpass('workspace-2', 'status')).stdout).not.toMatch(/^ {2}workspace: spiffe/m);
    expect(await ways.call('/ways/page')).toBe('403');
  }, 120_000);

  it('gets access by an operator: not by themselves as one, nor by one who has signed out', async () => {
    const { id } = asked.get('operator')!;
    await ways.login(ALICE);
    expect((await ways.operator('approve', id)).stderr).toContain('[approval_own]');
    await ways.login(BOB);
    const done = await ways.operator('approve', id, '--output', 'json');
    expect(done.code, done.stderr).toBe(0);
    asked.set('operator', JSON.parse(done.stdout));
    expect(asked.get('operator')).toMatchObject({ state: 'approved', answers: [{ via: 'operator' }] });
    await until(
      () => ways.call('/ways/operator'),
      (code) => code === '404',
      60,
    );
    expect((await ways.operator('approve', id)).stderr).toContain('[approval_unknown]');
    await ways.logout();
    expect((await ways.operator('approve', asked.get('page')!.id)).code).not.toBe(0);
  }, 120_000);

  it.skipIf(!HAS_BROWSER)(
    'gets access on the page: not by themselves, nor by a form that is forged or sent again',
    async () => {
      const { id } = asked.get('page')!;
      const path = `/approvals/${id}`;
      const own = await ways.browse(ALICE, path);
      await own.getByRole('button', { name: 'Approve' }).click();
      await own.getByText('approval_own').waitFor();
      const page = await ways.browse(BOB, path);
      const again = await ways.browse(BOB, path);
      await page.evaluate("document.querySelector('button[value=approve]').form.elements.form.value = 'x'");
      await page.getByRole('button', { name: 'Approve' }).click();
      await page.getByText('operator_form_forged').waitFor();
      await page.goto(ways.origin + path);
      await page.getByRole('button', { name: 'Approve' }).click();
      await page.getByText('approved by').waitFor();
      await until(
        () => ways.call('/ways/page'),
        (code) => code === '404',
        60,
      );
      await again.getByRole('button', { name: 'Approve' }).click();
      await again.getByText('approval_unknown').waitFor();
    },
    180_000,
  );

  it('gets access through a webhook: not in their own name, nor by a message that is forged, old or sent again', async () => {
    const { id } = asked.get('webhook')!;
    const [alice, bob] = [await ways.githubId('alice'), await ways.githubId('bob')];
    const code = async (by: string, how?: Parameters<Ways['answer']>[2]) =>
      (await ways.answer(id, by, how)).json?.error_code;
    expect(await code(alice)).toBe('approval_own');
    expect(await code(bob, { secret: 'forged' })).toBe('approval_webhook_unauthorized');
    expect(await code(bob, { age: 400 })).toBe('approval_webhook_unauthorized');
    expect((await ways.answer(id, bob, { messageId: 'msg_once' })).json).toMatchObject({ state: 'approved' });
    await until(
      () => ways.call('/ways/webhook'),
      (seen) => seen === '404',
      60,
    );
    expect(await code(bob, { messageId: 'msg_once' })).toBe('proof_replayed');
    expect(await code(bob)).toBe('approval_unknown');
  }, 120_000);

  it('loses each on time, and no later answer restores it; the audit log names each person, action and way', async () => {
    const listed = await ways.json<ApprovalsResponse>('workspace', 'requests');
    for (const way of WAYS.filter((one) => HAS_BROWSER || one !== 'page')) {
      const ends = listed.own.find(({ id }) => id === asked.get(way)!.id)!.until! * 1000;
      await until(
        () => ways.call(`/ways/${way}`),
        (code) => code === '403',
        90,
      );
      expect(Date.now(), way).toBeGreaterThan(ends - 1_000);
      const { id } = asked.get(way)!;
      await until(
        () => rows(id),
        (all) => all.some(({ action }) => action === 'approval.end'),
      );
      expect((await ways.meshpass('workspace-2', 'approve', id)).stderr).toContain('[approval_unknown]');
    }
    expect(await ways.call('/orders/1')).toBe('200');
    const [request, end] = [
      ['approval.request', 'allowed', 'github', null, undefined],
      ['approval.end', 'ended', 'github', null, undefined],
    ];
    const answer = (outcome: string, subject: string | null, code: string | null, via?: string) => [
      'approval.answer',
      outcome,
      subject,
      code,
      via,
    ];
    const late = answer('refused', 'github', 'approval_unknown', 'workspace');
    expect(await told(asked.get('workspace')!.id)).toEqual([
      ...[request, answer('refused', 'github', 'approval_own', 'workspace')],
      answer('refused', 'github', 'approval_forbidden', 'workspace'),
      ...[answer('allowed', 'github', null, 'workspace'), end, late],
    ]);
    expect(await told(asked.get('operator')!.id)).toEqual([
      ...[request, answer('refused', `corp:${ALICE}`, 'approval_own', 'operator')],
      answer('allowed', `corp:${BOB}`, null, 'operator'),
      ...[answer('refused', `corp:${BOB}`, 'approval_unknown', 'operator'), end, late],
    ]);
    if (HAS_BROWSER)
      expect(await told(asked.get('page')!.id)).toEqual([
        ...[request, answer('refused', `corp:${ALICE}`, 'approval_own', 'page')],
        answer('allowed', `corp:${BOB}`, null, 'page'),
        ...[answer('refused', `corp:${BOB}`, 'approval_unknown', 'page'), end, late],
      ]);
    expect(await told(asked.get('webhook')!.id)).toEqual([
      ...[request, answer('refused', 'github', 'approval_own', 'webhook chat')],
      answer('allowed', 'github', null, 'webhook chat'),
      answer('refused', 'github', 'proof_replayed', 'webhook chat'),
      ...[answer('refused', 'github', 'approval_unknown', 'webhook chat'), end, late],
    ]);
    const [given] = (await rows(asked.get('operator')!.id)).filter(
      ({ action, outcome }) => action === 'approval.answer' && outcome === 'allowed',
    );
    expect(given).toMatchObject({ grant_name: 'operator', login: 'bob' });
    expect(JSON.parse(given!.detail!)).toMatchObject({ requester: { login: 'alice' }, does: 'approvals.approve' });
  }, 240_000);
});

it('loses a withdrawn approval at once, with its open connections', async () => {
  const { id } = await ask('workspace', '--for', '10m');
  await ways.json('workspace-2', 'approve', id);
  await until(
    () => ways.call('/ways/workspace'),
    (code) => code === '404',
    30,
  );
  expect(await ways.json<ApprovalRequest>('workspace', 'requests', '--withdraw', id)).toMatchObject({
    state: 'withdrawn',
  });
  await until(
    () => ways.call('/ways/workspace'),
    (code) => code !== '404',
    20,
  );
  expect((await ways.dataPath.audit()).filter(({ action }) => action === 'session.narrow').at(-1)).toMatchObject({
    grant_name: 'workspace',
    outcome: 'ended',
  });
}, 120_000);

it('leaves nothing to answer when the session that asked ends', async () => {
  const { id } = await ask('webhook');
  expect((await ways.meshpass('workspace', 'down')).code).toBe(0);
  await until(
    () => rows(id),
    (all) => all.length > 1,
  );
  expect((await ways.meshpass('workspace-2', 'approve', id)).stderr).toContain('[approval_unknown]');
}, 60_000);
