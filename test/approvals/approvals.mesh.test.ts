/**
 * Just-in-time access on the real mesh: a developer is refused, asks, somebody else approves, calls pass, and end on time, or at once when
 * it is withdrawn.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ApprovalRequest, ApprovalsResponse } from '@meshpass/identity/approval';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type DataPath, openDataPath, until } from '../mesh.ts';

let dataPath: DataPath;
const directory = mkdtempSync(join(tmpdir(), 'meshpass-approvals-'));

const ACCESS = `trust: {codespaces: {organization: acme}}
grants:
  base:
    who: [{user: alice}, {user: bob}]
    to: [{service: orders.shop, port: 8080, allow: [GET /orders/*]}]
  prod:
    who: [{user: alice}, {user: bob}]
    to: [{service: orders.shop, port: 8080, allow: [GET /whoami]}]
    approval: {by: {team: acme/payments-leads}, for: 1m, max: 1h}
`;

beforeAll(async () => {
  const accessFile = join(directory, 'access.yaml');
  mkdirSync(directory, { recursive: true });
  writeFileSync(accessFile, ACCESS);
  dataPath = await openDataPath({ accessFile });
  await dataPath.github.createTeam('acme/payments-leads');
  for (const [owner, host] of [
    ['alice', 'workspace'],
    ['bob', 'workspace-2'],
  ] as const) {
    const env = await dataPath.environment(owner, host);
    const up = await dataPath.lab.exec(host, ['meshpass', 'up', '--output', 'json'], { env });
    expect(up.code, up.stderr).toBe(0);
  }
}, 180_000);
afterAll(async () => {
  for (const host of ['workspace', 'workspace-2']) await dataPath?.lab.exec(host, ['meshpass', 'down']);
  await dataPath?.close();
  rmSync(directory, { recursive: true, force: true });
});

const CURL = ['curl', '-sS', '-m', '5', '-o', '/dev/null', '-w', '%{http_code}'];
const call = async (path = '/whoami') =>
  (await dataPath.lab.exec('workspace', [...CURL, `http://orders.shop:8080${path}`])).stdout.trim();
const meshpass = (host: string, ...words: string[]) => dataPath.lab.exec(host, ['meshpass', ...words]);
async function json<T>(host: string, ...words: string[]): Promise<T> {
  const { code, stdout, stderr } = await meshpass(host, ...words, '--output', 'json');
  expect(code, stderr).toBe(0);
  return JSON.parse(stdout) as T;
}
const rows = async (id: string) => (await dataPath.audit()).filter(({ target }) => target === id);

it('lets a developer in for a while who was refused, asked, and was approved by somebody of the team', async () => {
  expect(await call()).toBe('403');
  expect(await call('/orders/1')).toBe('200');
  const why = await meshpass('workspace', 'explain', 'http://orders.shop:8080/whoami');
  expect(why.code).toBe(1);
  expect(why.stdout).toMatch(
    /You can ask for:\n {2}prod, with approval by team acme\/payments-leads, at most 1h: meshpass request prod/,
  );
  expect((await meshpass('workspace', 'request', 'prod')).stderr).toMatch(/needs a reason: add --reason/);

  const waiting = meshpass('workspace', 'request', 'prod', '--reason', 'INC-4711', '--wait', '--output', 'json');
  const asked = await until(
    async () => (await json<ApprovalsResponse>('workspace', 'requests')).own[0],
    (own) => own !== undefined,
  );
  const { id } = asked!;
  // Neither the developer, nor whom GitHub has not in the team at this moment.
  expect((await meshpass('workspace', 'approve', id)).stderr).toContain('[approval_own]');
  expect((await meshpass('workspace-2', 'approve', id)).stderr).toContain('[approval_forbidden]');
  await dataPath.github.addToTeam('acme/payments-leads', 'bob');
  expect((await json<ApprovalsResponse>('workspace-2', 'requests')).to_answer.map((one) => one.id)).toEqual([id]);
  const approved = await json<ApprovalRequest>('workspace-2', 'approve', id, '--reason', 'go ahead');
  expect(approved).toMatchObject({ state: 'approved', answers: [{ login: 'bob', via: 'workspace' }] });
  const done = await waiting;
  expect(done.code, done.stderr).toBe(0);
  expect(JSON.parse(done.stdout)).toMatchObject({ id, state: 'approved' });
  await until(call, (code) => code === '200');
  expect(await call('/orders/1')).toBe('200');
  // The approver has nothing by it.
  expect((await meshpass('workspace-2', 'status')).stdout).not.toMatch(/^ {2}prod: spiffe/m);

  const until60 = approved.until! * 1000;
  await new Promise((resolve) => setTimeout(resolve, Math.max(0, until60 - Date.now() - 1_000)));
  await until(call, (code) => code !== '200');
  expect(Date.now()).toBeGreaterThan(until60 - 1_000);
  await until(call, (code) => code === '403');
  expect(await call('/orders/1')).toBe('200');
  expect((await meshpass('workspace-2', 'approve', id)).stderr).toContain('[approval_unknown]');

  await until(
    () => rows(id),
    (all) => all.some(({ action }) => action === 'approval.end'),
  );
  expect((await rows(id)).map(({ action, outcome, login, code }) => [action, outcome, login, code])).toEqual([
    ['approval.request', 'allowed', 'alice', null],
    ['approval.answer', 'refused', 'alice', 'approval_own'],
    ['approval.answer', 'refused', 'bob', 'approval_forbidden'],
    ['approval.answer', 'allowed', 'bob', null],
    ['approval.end', 'ended', 'alice', null],
    ['approval.answer', 'refused', 'bob', 'approval_unknown'],
  ]);
}, 240_000);

it('takes back at once what is withdrawn, and cuts what was open', async () => {
  const { id } = await json<ApprovalRequest>('workspace', 'request', 'prod', '--for', '10m', '--reason', 'INC-4712');
  await json('workspace-2', 'approve', id);
  await until(call, (code) => code === '200', 30);
  expect(await json<ApprovalRequest>('workspace', 'requests', '--withdraw', id)).toMatchObject({ state: 'withdrawn' });
  await until(call, (code) => code !== '200', 10);
  expect((await dataPath.audit()).filter(({ action }) => action === 'session.narrow').at(-1)).toMatchObject({
    grant_name: 'prod',
    outcome: 'ended',
  });
}, 120_000);
