/** Routes of operators are on a separate listener, and wrong tokens there lock out no client. */
import { randomBytes } from 'node:crypto';
import { request } from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Answer, type Harness, newKey, OPERATOR_TOKEN, session, startHarness } from '../harness/broker.ts';
import { grant } from '../harness/mesh.ts';
import { asOperator, exchange, operatorsByGroup, signIn } from '../harness/operators.ts';

let harness: Harness;
beforeAll(async () => {
  harness = await startHarness({
    parts: () => ({
      policy: {
        mesh: { drift: () => undefined, inForce: () => undefined, resume: () => {}, onChange: () => () => {} } as never,
        authorOf: undefined,
      },
    }),
  });
  harness.mesh.setAccess([grant('dev')]);
});
afterAll(() => harness?.stop());

const headers = { authorization: `Bearer ${OPERATOR_TOKEN}`, 'content-type': 'application/json' };

describe('the public listener', () => {
  it.each([
    ['GET', '/admin/sessions'],
    ['POST', '/admin/sessions/close'],
    ['GET', '/admin/trust'],
    ['POST', '/admin/trust/rotate'],
    ['GET', '/admin/drill/sessions/x'],
    ['POST', '/admin/drill/evidence'],
    ['GET', '/audit'],
    ['GET', '/audit/export'],
    ['GET', '/audit/key'],
    ['GET', '/audit/checkpoint'],
    ['POST', '/audit/prune'],
    ['POST', '/policy/plan'],
    ['POST', '/policy/apply'],
    ['POST', '/policy/rollback'],
    ['GET', '/policy/history'],
    ['GET', '/metrics'],
    ['GET', '/readyz'],
  ])('has no %s %s, whoever asks: it answers as for any path that is not there', async (method, path) => {
    const order = method === 'POST' ? { body: '{}' } : {};
    const { status, text } = await harness.call({ method, path, headers, ...order });
    expect([status, text]).toEqual([404, (await harness.call({ path: '/nothing' })).text]);
    expect((await harness.operatorCall({ method, path, headers, ...order })).text).not.toBe(text);
  });
});

/** Another address of the loopback network. */
function fromSource(localAddress: string, token: string, path = '/admin/sessions'): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const options = { host: '127.0.0.1', port: harness.broker.operatorPort, localAddress, path, agent: false };
    const sent = request({ ...options, headers: { authorization: `Bearer ${token}` } }, (response) => {
      let text = '';
      response.on('data', (chunk: Buffer) => (text += chunk));
      response.on('end', () => {
        resolve({ status: response.statusCode!, headers: response.headers, text, json: JSON.parse(text) });
      });
    });
    sent.on('error', reject).end();
  });
}

describe('wrong tokens of operators', () => {
  it('are refused one by one, and do not block a session, break-glass or a new sign-in at the same address', async () => {
    harness.mesh.setOperators(operatorsByGroup());
    const ada = await signIn(harness, 'ada', ['admin']);
    const invented = () => ada.token.replace(/[^.]+$/, randomBytes(256).toString('base64url'));
    const wrong: readonly ((n: number) => Promise<Answer>)[] = [
      (n) => fromSource('127.0.0.1', `wrong-${n}`),
      () => asOperator(harness, { ...ada, token: invented() }, { path: '/admin/sessions' }),
      () => asOperator(harness, { ...ada, key: newKey() }, { path: '/admin/sessions' }),
      (n) => exchange(harness, 'eve', ['admin'], { token: `wrong-${n}` }),
      () => exchange(harness, 'eve', ['everyone']),
    ];
    for (const one of wrong) {
      const codes: string[] = [];
      for (let n = 0; n < 11; n++) codes.push((await one(n)).json.error_code);
      expect(new Set(codes).size).toBe(1);
      expect(codes).not.toContain('too_many_attempts');
      expect((await asOperator(harness, ada, { path: '/admin/sessions' })).status).toBe(200);
      expect((await fromSource('127.0.0.1', OPERATOR_TOKEN)).status).toBe(200);
      expect((await exchange(harness, 'ben', ['viewer'])).status).toBe(200);
    }
  });

  it('are in the audit log, with their source', async () => {
    await fromSource('127.0.0.10', 'wrong', '/audit/export');
    const { json } = await harness.operatorCall({ path: '/audit?last=1', headers });
    expect(json.rows[0]).toMatchObject({
      action: 'operator.list',
      outcome: 'refused',
      code: 'operator_unauthorized',
      source: '127.0.0.10',
    });
  });
});

it('a session of a developer is nothing to the operator listener', async () => {
  const alice = await session(harness, 'alice');
  const answer = await harness.operatorCall({
    path: '/admin/sessions',
    headers: { authorization: `DPoP ${alice.access_token}` },
  });
  expect(answer.json.error_code).toBe('operator_unauthorized');
});
