/** Operators list every request, answer those whose "by" names them, and revoke approvals. */
import { authorize, parseAccess } from '@meshpass/access';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { askAnew, grantsOf } from '../harness/approval/approvals.ts';
import { type Enrolled, type Harness, OPERATOR_TOKEN, startHarness } from '../harness/broker.ts';
import { asOperator, operatorsByGroup, type SignedIn, signIn } from '../harness/operators.ts';

const FILE = `
trust: {issuers: {idp: {issuer: 'https://idp.example', audience: meshpass, signIn: {client: meshpass-operators}}}}
grants:
  dev: {who: [{issuer: idp}], to: [{service: orders.shop, port: 8080}]}
  prod:
    who: [{issuer: idp}]
    to: [{service: ledger.shop, port: 8080}]
    approval: {by: {issuer: idp, when: 'subject != "idp:dave"'}, for: 30m}`;

describe('operators', () => {
  let harness: Harness;
  const ask = (subject: string) => askAnew(harness, subject);
  const services = (who: Enrolled) => grantsOf(harness, who);

  beforeAll(async () => {
    harness = await startHarness({ parts: () => ({ authorize }) });
    const { grants, trust } = parseAccess(FILE, 'access.yaml');
    harness.mesh.setAccess(grants, [], trust);
    harness.mesh.setOperators(operatorsByGroup());
  });
  afterAll(() => harness?.stop());

  it('approve by the entry of "by" that names them, and are named in the audit log', async () => {
    const { id, who } = await ask('alice');
    const olga = await signIn(harness, 'olga', ['approver']);
    const listed = await asOperator(harness, olga, { path: '/admin/approvals' });
    expect(listed.json.requests.map((one: { id: string }) => one.id)).toContain(id);
    const done = await answer(olga, id);
    expect(done.json).toMatchObject({ state: 'approved', answers: [{ subject: 'idp:olga', via: 'operator' }] });
    expect(await services(who)).toEqual(['dev', 'prod']);
    const shown = await asOperator(harness, olga, { path: `/admin/approvals?id=${id}` });
    expect(shown.json.requests).toMatchObject([{ id, state: 'approved', person: { subject: 'idp:alice' } }]);
  });

  it('cannot answer by their role alone, nor answer their own request of a workspace', async () => {
    const { id } = await ask('olga');
    const code = async (subject: string, roles: Parameters<typeof signIn>[2]) =>
      (await answer(await signIn(harness, subject, roles), id)).json.error_code;
    expect(await code('olga', ['approver'])).toBe('approval_own');
    expect(await code('dave', ['admin'])).toBe('approval_forbidden');
    expect(await code('bob', ['viewer'])).toBe('operator_forbidden');
    expect(await code('bob', ['operator'])).toBe('operator_forbidden');
  });

  it('are people: the break-glass token cannot answer', async () => {
    const { id } = await ask('carol');
    const refused = await harness.operatorCall({
      method: 'POST',
      path: '/admin/approvals/answer',
      headers: { authorization: `Bearer ${OPERATOR_TOKEN}`, 'content-type': 'application/json' },
      body: JSON.stringify({ id, decision: 'approve' }),
    });
    expect([refused.status, refused.json.error_code]).toEqual([403, 'operator_forbidden']);
  });

  it('revoke an approval, with a reason, at once', async () => {
    const { id, who } = await ask('frank');
    const olga = await signIn(harness, 'olga', ['approver']);
    const max = await signIn(harness, 'max', ['operator']);
    await answer(olga, id);
    expect(await services(who)).toEqual(['dev', 'prod']);
    const revoke = (by: SignedIn, body: object) =>
      asOperator(harness, by, { method: 'POST', path: '/admin/approvals/revoke', body: JSON.stringify(body) });
    expect((await revoke(olga, { id, reason: 'over' })).json.error_code).toBe('operator_forbidden');
    expect((await revoke(max, { id })).status).toBe(400);
    expect((await revoke(max, { id, reason: 'over' })).json).toMatchObject({ state: 'revoked' });
    expect(await services(who)).toEqual(['dev']);
    expect((await revoke(max, { id, reason: 'over' })).json.error_code).toBe('approval_unknown');
  });

  async function answer(who: SignedIn, id: string) {
    const body = JSON.stringify({ id, decision: 'approve' });
    return await asOperator(harness, who, { method: 'POST', path: '/admin/approvals/answer', body });
  }
});
