/** Every role against every action, at the HTTP API. The expected outcomes are written by hand, not derived from the table in the source. */

import type { Access, OperatorRole } from '@meshpass/access';
import { parseAccess } from '@meshpass/access';
import { DRILL_CAUSES } from '@meshpass/identity/drill-report';
import { loadManifests } from '@meshpass/istio';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { OPERATOR_ACTIONS, type OperatorAction } from '../../src/admin/operator/actions.ts';
import { type Call, type Harness, OPERATOR_TOKEN, startHarness } from '../harness/broker.ts';
import { asOperator, signIn } from '../harness/operators.ts';

const TEXT = `
trust:
  codespaces: {organization: acme}
  issuers:
    idp: {issuer: https://idp.example, audience: meshpass, algorithms: [ES256], signIn: {client: meshpass-operators}}
operators:
  viewer: [{issuer: idp, claims: {groups: viewer}}]
  approver: [{issuer: idp, claims: {groups: approver}}]
  operator: [{issuer: idp, claims: {groups: operator}}]
  security-officer: [{issuer: idp, claims: {groups: security-officer}}]
  admin: [{issuer: idp, claims: {groups: admin}}]
grants:
  dev: {who: [{user: alice}], to: [{service: orders.shop, port: 8080}]}
`;
const SERVICE = `{apiVersion: v1, kind: Service, metadata: {name: orders, namespace: shop},
  spec: {selector: {app: orders}, ports: [{port: 8080, name: http}]}}`;

let harness: Harness;
beforeAll(async () => {
  const access = parseAccess(TEXT, 'access.yaml');
  const jwks = '{"keys":[{"kty":"RSA","kid":"1","n":"AQAB","e":"AQAB"}]}';
  const shape = {
    trustDomain: 'cluster.local',
    rootNamespace: 'istio-system',
    clusterDomain: 'cluster.local',
    gateway: { namespace: 'meshpass-system', labels: { istio: 'meshpass-gateway' }, port: 15443 },
  };
  const policy = {
    shape,
    tokens: () => ({ issuer: 'https://broker.example', audience: 'meshpass', header: 'x-meshpass-token', jwks }),
    inForce: (): Access | undefined => (harness?.mesh.inForce() ? harness.mesh.access() : undefined),
    read: async () => loadManifests(SERVICE, 'cluster.yaml').resources,
    take: async () => {},
    onDisk: () => files(TEXT),
    followDisk: async () => {},
    drift: () => undefined,
    rehearse: async () => {},
    resume: () => {},
    onChange: () => () => {},
  };
  harness = await startHarness({ parts: () => ({ policy: { mesh: policy as never, authorOf: undefined } }) });
  harness.mesh.setAccess(access.grants, access.trust.audiences, access.trust);
  harness.mesh.setOperators(access.operators);
  const { json } = await asBreakGlass({ method: 'POST', path: '/policy/plan', body: JSON.stringify(files(TEXT)) });
  await apply(TEXT, json.id);
});
afterAll(() => harness?.stop());

const files = (text: string) => ({ files: { 'access.yaml': text }, main: 'access.yaml' });

async function apply(text: string, plan: string) {
  const body = JSON.stringify({ ...files(text), plan, reason: 'set up' });
  expect((await asBreakGlass({ method: 'POST', path: '/policy/apply', body })).text).toContain('"id"');
}

async function asBreakGlass(call: Call) {
  const headers = { authorization: `Bearer ${OPERATOR_TOKEN}`, 'content-type': 'application/json' };
  return await harness.operatorCall({ ...call, headers });
}

const post = (path: string, body: object): Call => ({ method: 'POST', path, body: JSON.stringify(body) });
const reason = 'the matrix';
const plan = 'a'.repeat(64);

/** A request for each action. */
const REQUESTS: Readonly<Record<OperatorAction, Call>> = {
  'sessions.list': { path: '/admin/sessions' },
  'sessions.find': { path: '/admin/sessions?user=alice' },
  'sessions.show': { path: '/admin/sessions?id=x' },
  'sessions.close': post('/admin/sessions/close', { id: 'x' }),
  'sessions.close-user': post('/admin/sessions/close', { user: 'x' }),
  'sessions.close-workspace': post('/admin/sessions/close', { workspace: 'x' }),
  'sessions.close-grant': post('/admin/sessions/close', { grant: 'x' }),
  'sessions.close-all': post('/admin/sessions/close', { all: true, reason }),
  'trust.show': { path: '/admin/trust' },
  'approvals.list': { path: '/admin/approvals' },
  'approvals.show': { path: '/admin/approvals?id=0123456789abcdef01234567' },
  'approvals.approve': post('/admin/approvals/answer', { id: '0123456789abcdef01234567', decision: 'approve' }),
  'approvals.deny': post('/admin/approvals/answer', { id: '0123456789abcdef01234567', decision: 'deny' }),
  'approvals.review': post('/admin/approvals/review', {
    id: '0123456789abcdef01234567',
    decision: 'accept',
    reason: 'it was right',
  }),
  'approvals.revoke': post('/admin/approvals/revoke', { id: '0123456789abcdef01234567', reason: 'tidy' }),
  'rotation.rotate': post('/admin/trust/rotate', { reason }),
  'rotation.revoke': post('/admin/trust/rotate', { revoke: true, reason }),
  'audit.tail': { path: '/audit?last=1' },
  'audit.page': { path: '/audit?after=1' },
  'audit.session': { path: '/audit?session=x' },
  'audit.decision': { path: '/audit?decision=x' },
  'audit.export': { path: '/audit/export' },
  'audit.checkpoint': { path: '/audit/checkpoint' },
  'audit.key': { path: '/audit/key' },
  'audit.restores': { path: '/audit/restores' },
  'audit.prune': post('/audit/prune', { before: '2020-01-01T00:00:00Z', reason }),
  'drill.session': { path: '/admin/drill/sessions/x' },
  'drill.evidence': post('/admin/drill/evidence', evidence()),
  'policy.plan': post('/policy/plan', files(TEXT)),
  'policy.history': { path: '/policy/history' },
  'policy.version': { path: '/policy/versions/1' },
  'policy.apply': post('/policy/apply', { ...files(TEXT), plan, reason }),
  'policy.rollback': post('/policy/rollback', { version: 1, reason }),
  'operators.whoami': { path: '/operator/session' },
  'operators.logout': { method: 'DELETE', path: '/operator/session' },
  'operators.confirm-sign-in': post('/operator/session/confirm', { id_token: 'x' }),
  'operators.roles': { path: '/operator/roles' },
  'operators.list': { path: '/operator/sessions' },
  'operators.close': post('/operator/sessions/close', { id: 'x' }),
  'operators.close-person': post('/operator/sessions/close', { subject: 'x' }),
};

/** Smallest valid report of a drill. */
function evidence(): object {
  const at = '2026-01-01T00:00:00.000Z';
  const session = { id: 'x', subject: 'idp:x', login: 'x', workspace: 'x', grants: ['dev'] };
  const when = { started_at: at, ended_at: at };
  return {
    version: 1,
    broker: 'https://broker.example',
    ...when,
    cause: DRILL_CAUSES[0],
    session,
    principals: [],
    rows: [],
  };
}

/** viewer, approver, operator, security officer, admin; and the break-glass token. */
const EXPECTED = `
  sessions.list            v a o s A !
  sessions.find            v a o s A !
  sessions.show            v a o s A !
  sessions.close           . . o s A !
  sessions.close-user      . . o s A !
  sessions.close-workspace . . o s A !
  sessions.close-grant     . . o s A !
  sessions.close-all       . . . s A !
  trust.show               v a o s A !
  approvals.list           v a o s A !
  approvals.show           v a o s A !
  approvals.approve        . a . s A .
  approvals.deny           . a . s A .
  approvals.review         . a . s A .
  approvals.revoke         . . o s A !
  rotation.rotate          . . . s A !
  rotation.revoke          . . . s A !
  audit.tail               . . o s A !
  audit.page               . . o s A !
  audit.session            . a o s A !
  audit.decision           . a o s A !
  audit.export             . . . s A !
  audit.checkpoint         . . o s A !
  audit.key                v a o s A !
  audit.restores           . . o s A !
  audit.prune              . . . s A .
  drill.session            . . o s A !
  drill.evidence           . . o s A !
  policy.plan              v . o s A !
  policy.history           v a o s A !
  policy.version           v a o s A !
  policy.apply             . . . . A !
  policy.rollback          . . . . A !
  operators.whoami         v a o s A !
  operators.logout         v a o s A !
  operators.confirm-sign-in v a o s A .
  operators.roles          v a o s A !
  operators.list           . . o s A !
  operators.close          . . . s A !
  operators.close-person   . . . s A !
`;

const COLUMNS: readonly (OperatorRole | 'break-glass')[] = [
  ...(['viewer', 'approver', 'operator', 'security-officer', 'admin'] as const),
  'break-glass',
];
const ROWS = EXPECTED.trim()
  .split('\n')
  .map((line) => line.trim().split(/\s+/))
  .map(([action, ...cells]) => ({ action: action as OperatorAction, cells }));

it('every action is in the matrix, and no other', () => {
  expect(ROWS.map(({ action }) => action).toSorted()).toEqual(Object.keys(OPERATOR_ACTIONS).toSorted());
  for (const { cells } of ROWS) expect(cells).toHaveLength(COLUMNS.length);
  expect(ROWS.length).toBeGreaterThanOrEqual(40);
  // Route or parameters distinguish each action from the others.
  const calls = ROWS.map(({ action }) => JSON.stringify(REQUESTS[action]));
  expect(new Set(calls).size).toBe(ROWS.length);
});

describe.each(COLUMNS.map((role, column) => ({ role, column })))('$role', ({ role, column }) => {
  it.each(ROWS.map(({ action, cells }) => ({ action, may: cells[column] !== '.' })))(
    '$action: $may',
    async ({ action, may }) => {
      const call = REQUESTS[action];
      const answer =
        role === 'break-glass'
          ? await asBreakGlass(call)
          : await asOperator(harness, await signIn(harness, `a-${role}`, [role]), call);
      if (may) {
        expect(answer.status).not.toBe(403);
        expect(answer.status).not.toBe(401);
        return;
      }
      expect(answer).toMatchObject({ status: 403, json: { error_code: 'operator_forbidden' } });
      // The refusal names the attempted action, which proves that no other check refused it, and the roles that may do it.
      expect(answer.json.error_description).toContain(action);
      const needed = COLUMNS.filter(
        (one, index) => one !== 'break-glass' && ROWS.find((row) => row.action === action)!.cells[index] !== '.',
      );
      for (const one of needed) expect(answer.json.error_description).toContain(one);
    },
  );
});

describe('handing back to the file on disk', () => {
  it('needs an admin, even if that file equals the one in force, because its author decides from then on', async () => {
    const operator = await signIn(harness, 'an-operator', ['operator']);
    const call = post('/policy/rollback', { version: 0, reason });
    const answer = await asOperator(harness, operator, call);
    expect(answer).toMatchObject({ status: 403, json: { error_code: 'operator_forbidden' } });
    const admin = await asOperator(harness, await signIn(harness, 'an-admin', ['admin']), call);
    expect([admin.status, admin.text]).toEqual([200, expect.stringContaining('"id"')]);
  });
});

describe('a refusal', () => {
  it('is in the audit log with the person, and in the metrics', async () => {
    const viewer = await signIn(harness, 'a-viewer', ['viewer']);
    const { json } = await asOperator(harness, viewer, REQUESTS['sessions.close-all']);
    const row = (await asBreakGlass({ path: `/audit?decision=${json.decision_id}` })).json.rows[0];
    expect(row).toMatchObject({
      action: 'operator.close',
      outcome: 'refused',
      code: 'operator_forbidden',
      subject: 'idp:a-viewer',
      login: 'a-viewer',
      issuer: 'idp',
    });
    expect(JSON.parse(row.detail)).toMatchObject({ does: 'sessions.close-all' });
    const metrics = await harness.operatorCall('/metrics');
    expect(metrics.text).toMatch(/meshpass_decisions_total\{[^}]*code="operator_forbidden"[^}]*\} [1-9]/);
  });
});

describe('a reason', () => {
  const destructive = Object.entries(OPERATOR_ACTIONS).filter(([, terms]) => 'destructive' in terms);
  it.each(destructive.map(([action]) => action as OperatorAction))('is required for %s', async (action) => {
    const admin = await signIn(harness, 'an-admin', ['admin']);
    const { reason: _, ...rest } = JSON.parse(REQUESTS[action].body!) as Record<string, unknown>;
    const without = await asOperator(harness, admin, { ...REQUESTS[action], body: JSON.stringify(rest) });
    expect(without.status).toBe(400);
    expect(['operator_reason_required', 'request_malformed']).toContain(without.json.error_code);
    const empty = await asOperator(harness, admin, {
      ...REQUESTS[action],
      body: JSON.stringify({ ...rest, reason: ' ' }),
    });
    expect(empty.status).toBe(400);
  });

  it('is in the audit log', async () => {
    const admin = await signIn(harness, 'an-admin', ['admin']);
    await asOperator(harness, admin, REQUESTS['sessions.close-all']);
    const { json } = await asOperator(harness, admin, { path: '/audit?last=1' });
    expect(json.rows[0]).toMatchObject({
      action: 'operator.close',
      reason: 'an-admin (idp:an-admin) requested it: the matrix.',
    });
  });
});
