/** People who ask for approval of a grant `prod` and answer from their workspaces, over the API of a whole broker. */
import { expect } from 'vitest';
import { type Answer, asSession, type Enrolled, enrol, type Harness, newKey, OPERATOR_TOKEN } from '../broker.ts';

export interface Asked {
  readonly id: string;
  readonly who: Enrolled;
}

export interface AuditRow {
  readonly id: string;
  readonly action: string;
  readonly target: string | null;
  readonly detail: string | null;
}

let workspaces = 0;

/** Opens a session of a person, by default in a separate workspace. */
export async function openWorkspace(harness: Harness, subject: string, name = `w:${workspaces++}`): Promise<Enrolled> {
  const key = newKey();
  const answer = await enrol(harness, subject, key, await harness.idp.prove(subject, { workspace: name }));
  expect(answer.status, answer.text).toBe(200);
  return { ...answer.json, key };
}

export async function post(harness: Harness, who: Enrolled, path: string, body: object): Promise<Answer> {
  const headers = { 'content-type': 'application/json' };
  return await asSession(harness, who, { method: 'POST', path, headers, body: JSON.stringify(body) });
}

export function ask(harness: Harness, who: Enrolled, order: object = {}): Promise<Answer> {
  return post(harness, who, '/approvals', { grant: 'prod', reason: 'INC-1', ...order });
}

/** Somebody asks in a new workspace. @param path `/approvals/emergency`: takes it */
export async function askAnew(
  harness: Harness,
  subject: string,
  order: object = {},
  path = '/approvals',
): Promise<Asked> {
  const who = await openWorkspace(harness, subject);
  const asked = await post(harness, who, path, { grant: 'prod', reason: 'INC-1', ...order });
  expect(asked.status, asked.text).toBe(200);
  return { id: asked.json.id, who };
}

export function answer(harness: Harness, who: Enrolled, id: string, order: object = {}): Promise<Answer> {
  return post(harness, who, '/approvals/answer', { id, decision: 'approve', ...order });
}

/** Grants of a session, by the services that it may reach. */
export async function grantsOf(harness: Harness, who: Enrolled): Promise<string[]> {
  const { json } = await asSession(harness, who, { path: '/services' });
  return json.services.map((one: { grant: string }) => one.grant);
}

/** The last 200. */
export async function auditRows(harness: Harness): Promise<readonly AuditRow[]> {
  const headers = { authorization: `Bearer ${OPERATOR_TOKEN}` };
  return (await harness.operatorCall({ path: '/audit?last=200', headers })).json.rows;
}
