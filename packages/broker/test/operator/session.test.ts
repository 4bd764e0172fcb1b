/** Requests that an operator's session allows, and the events that end it. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { dpop, type Harness, newKey, startHarness } from '../harness/broker.ts';
import { grant } from '../harness/mesh.ts';
import { asOperator, operatorsByGroup, signIn } from '../harness/operators.ts';

let harness: Harness;
beforeAll(async () => {
  harness = await startHarness();
  harness.mesh.setAccess([grant('dev')]);
});
afterAll(() => harness?.stop());
beforeEach(() => harness.mesh.setOperators(operatorsByGroup()));

describe('a session of an operator', () => {
  it('is worth nothing without its key, and no proof is good twice', async () => {
    const mona = await signIn(harness, 'mona', ['admin']);
    const path = '/admin/sessions';
    const bearer = await harness.operatorCall({ path, headers: { authorization: `Bearer ${mona.token}` } });
    expect(bearer.json.error_code).toBe('operator_unauthorized');
    const bare = await harness.operatorCall({ path, headers: { authorization: `DPoP ${mona.token}` } });
    expect(bare.json.error_code).toBe('dpop_missing');
    expect((await asOperator(harness, { ...mona, key: newKey() }, { path })).json.error_code).toBe('dpop_key_mismatch');
    const proof = dpop({ key: mona.key, method: 'GET', path, now: harness.now(), accessToken: mona.token });
    const headers = { authorization: `DPoP ${mona.token}`, dpop: proof };
    expect((await harness.operatorCall({ path, headers })).status).toBe(200);
    expect((await harness.operatorCall({ path, headers })).json.error_code).toBe('dpop_replayed');
    const other = dpop({ key: mona.key, method: 'GET', path: '/audit', now: harness.now(), accessToken: mona.token });
    expect((await harness.operatorCall({ path, headers: { ...headers, dpop: other } })).json.error_code).toBe(
      'dpop_mismatch',
    );
  });

  it('ends at its hard end, whatever is done with it', async () => {
    harness.mesh.setOperators(operatorsByGroup({ session: 300 }));
    const mona = await signIn(harness, 'mona', ['admin']);
    harness.clockAhead += 290_000;
    expect((await asOperator(harness, mona, { path: '/operator/session' })).status).toBe(200);
    harness.clockAhead += 11_000;
    expect((await asOperator(harness, mona, { path: '/operator/session' })).json.error_code).toBe(
      'operator_session_ended',
    );
  });

  it('continues after another broker takes over, and stays closed if it was closed', async () => {
    const mona = await signIn(harness, 'mona', ['admin']);
    const gone = await signIn(harness, 'gone', ['viewer']);
    await asOperator(harness, gone, { method: 'DELETE', path: '/operator/session' });
    await harness.restart();
    const { status, json } = await asOperator(harness, mona, { path: '/operator/session' });
    expect([status, json.operator?.subject]).toEqual([200, 'idp:mona']);
    expect((await asOperator(harness, gone, { path: '/operator/session' })).json.error_code).toBe(
      'operator_session_ended',
    );
  });

  it('gains and loses roles with the access file immediately, and ends with its last role', async () => {
    const mona = await signIn(harness, 'mona', ['operator', 'security-officer']);
    const { roles } = operatorsByGroup();
    harness.mesh.setOperators(operatorsByGroup({ roles: { ...roles, 'security-officer': [] } }));
    const path = '/audit/export';
    expect((await asOperator(harness, mona, { path })).json.error_code).toBe('operator_forbidden');
    harness.mesh.setOperators(operatorsByGroup({ roles: { ...roles, operator: [], 'security-officer': [] } }));
    expect((await asOperator(harness, mona, { path })).json.error_code).toBe('operator_session_ended');
    harness.mesh.setOperators(operatorsByGroup());
    expect((await asOperator(harness, mona, { path })).json.error_code).toBe('operator_session_ended');
  });

  it('ends when the access file denies its person, or has another client or issuer', async () => {
    const mona = await signIn(harness, 'mona', ['admin']);
    const place = { file: 'access.yaml', line: 3, column: 1 };
    harness.mesh.setAccess([grant('dev')], [], {}, [{ place, issuer: 'idp', when: 'subject == "idp:mona"' }]);
    expect((await asOperator(harness, mona, { path: '/admin/trust' })).json.error_code).toBe('operator_session_ended');
    harness.mesh.setAccess([grant('dev')]);
    const ada = await signIn(harness, 'ada', ['admin']);
    const [issuer] = harness.mesh.access().trust.issuers;
    harness.mesh.setAccess([grant('dev')], [], {
      issuers: [
        { ...issuer!, signIn: { client: 'another', scopes: [], refresh: true, confirm: 60, nonce: 'optional' } },
      ],
    });
    expect((await asOperator(harness, ada, { path: '/admin/trust' })).json.error_code).toBe('operator_session_ended');
    harness.mesh.setAccess([grant('dev')]);
  });

  it('ends when another operator with a sufficient role closes it', async () => {
    const [mona, ada] = [await signIn(harness, 'mona', ['operator']), await signIn(harness, 'ada', ['admin'])];
    const body = JSON.stringify({ subject: mona.subject, reason: 'left' });
    const close = { method: 'POST', path: '/operator/sessions/close', body };
    expect((await asOperator(harness, mona, close)).json.error_code).toBe('operator_forbidden');
    expect((await asOperator(harness, ada, close)).json.closed).not.toHaveLength(0);
    expect((await asOperator(harness, mona, { path: '/admin/trust' })).json.error_code).toBe('operator_session_ended');
    // The broker has seen no session of this subject, and also ends those that it has not seen.
    expect((await asOperator(harness, ada, close)).json.closed).toEqual([]);
    const unknown = { ...close, body: JSON.stringify({ subject: 'elsewhere:mona' }) };
    expect((await asOperator(harness, ada, unknown)).json.error_code).toBe('not_found');
  });
});

it('a client with its token and without its key does not fill the audit log', async () => {
  const tia = await signIn(harness, 'tia', ['admin']);
  const thief = { ...tia, key: newKey() };
  for (let n = 0; n < 260; n++)
    expect((await asOperator(harness, thief, { path: '/audit' })).json.error_code).toBe('dpop_key_mismatch');
  const { json } = await asOperator(harness, tia, { path: '/audit?last=1000' });
  const rows = json.rows.filter(
    ({ subject, code }: { subject: string; code: string }) => subject === 'idp:tia' && code,
  );
  // 200 of one source at once, and one a second.
  expect(rows.length).toBeLessThan(230);
});
