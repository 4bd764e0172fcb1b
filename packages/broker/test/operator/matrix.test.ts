/** Every role against every action, at the HTTP API. What is expected stands here, written by hand, and is not read from the table. */

import type { OperatorRole } from '@meshpass/access';
import { parseAccess } from '@meshpass/access';
import { DRILL_CAUSES } from '@meshpass/identity/drill-report';
import { loadManifests } from '@meshpass/istio';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { OPERATOR_ACTIONS, type OperatorAction } from '../../src/operator/actions.ts';
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
/** As above, and everybody in the company is an admin. */
const TAKEOVER = TEXT.replace('groups: admin', 'groups: everyone');
const SERVICE = `{apiVersion: v1, kind: Service, metadata: {name: orders, namespace: shop},
  spec: {selector: {app: orders}, ports: [{port: 8080, name: http}]}}`;

let harness: Harness;
beforeAll(async () => {
  const access = parseAccess(TEXT, 'access.yaml');
  const jwks = '{"keys":[{"kty":"RSA","kid":"1","n":"AQAB","e":"AQAB"}]}';
  const shape = {
    ...{ trustDomain: 'cluster.local', rootNamespace: 'istio-system', clusterDomain: 'cluster.local' },
    gateway: { namespace: 'meshpass-system', labels: { istio: 'meshpass-gateway' }, port: 15443 },
  };
  const policy = {
    shape,
    tokens: () => ({ issuer: 'https://broker.example', audience: 'meshpass', header: 'x-meshpass-token', jwks }),
    inForce: () => undefined,
    read: async () => loadManifests(SERVICE, 'cluster.yaml').resources,
    take: async () => {},
    ...{ drift: () => undefined, rehearse: async () => {}, resume: () => {}, onChange: () => () => {} },
  };
  harness = await startHarness({ parts: () => ({ policy: { mesh: policy as never, authorOf: undefined } }) });
  harness.mesh.setAccess(access.grants, access.trust.audiences, access.trust);
  harness.mesh.setOperators(access.operators);
  const { json } = await asBreakGlass({ method: 'POST', path: '/policy/plan', body: JSON.stringify(files(TEXT)) });
  // Version 1 changes nothing of trust, version 2 does.
  await apply(TEXT, json.id);
  const second = await asBreakGlass({ method: 'POST', path: '/policy/plan', body: JSON.stringify(files(TAKEOVER)) });
  await apply(TAKEOVER, second.json.id);
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
const accept_unknown = true;

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
    ...{ id: '0123456789abcdef01234567', decision: 'accept', reason: 'it was right' },
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
  'policy.apply-unknown': post('/policy/apply', { ...files(TEXT), plan, reason, accept_unknown }),
  'policy.apply-trust': post('/policy/apply', { ...files(TAKEOVER), plan, reason }),
  'policy.rollback': post('/policy/rollback', { version: 1, reason }),
  'policy.rollback-unknown': post('/policy/rollback', { version: 1, reason, accept_unknown }),
  'policy.rollback-trust': post('/policy/rollback', { version: 2, reason }),
  'operators.whoami': { path: '/operator/session' },
  'operators.logout': { method: 'DELETE', path: '/operator/session' },
  'operators.confirm-sign-in': post('/operator/session/confirm', { id_token: 'x' }),
  'operators.roles': { path: '/operator/roles' },
  'operators.list': { path: '/operator/sessions' },
  'operators.close': post('/operator/sessions/close', { id: 'x' }),
  'operators.close-person': post('/operator/sessions/close', { subject: 'x' }),
  'operators.confirmations': { path: '/operator/confirmations' },
  'operators.confirmation': { path: '/operator/confirmations?id=x' },
  'operators.withdraw': post('/operator/confirmations/withdraw', { id: 'x' }),
  'operators.confirm': post('/operator/confirmations/confirm', { id: 'x', digest: 'a'.repeat(64) }),
};

/** What a drill reports, as small as it may be. */
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
  policy.apply             . . o . A !
  policy.apply-unknown     . . . . A !
  policy.apply-trust       . . . . A !
  policy.rollback          . . o . A !
  policy.rollback-unknown  . . . . A !
  policy.rollback-trust    . . . . A !
  operators.whoami         v a o s A !
  operators.logout         v a o s A !
  operators.confirm-sign-in v a o s A .
  operators.roles          v a o s A !
  operators.list           . . o s A !
  operators.close          . . . s A !
  operators.close-person   . . . s A !
  operators.confirmations  . . o s A !
  operators.confirmation   . . o s A !
  operators.confirm        . . o s A .
  operators.withdraw       . . o s A !
`;

const COLUMNS: readonly (OperatorRole | 'break-glass')[] = [
  ...(['viewer', 'approver', 'operator', 'security-officer', 'admin'] as const),
  'break-glass',
];
const ROWS = EXPECTED.trim()
  .split('\n')
  .map((line) => line.trim().split(/\s+/))
  .map(([action, ...cells]) => ({ action: action as OperatorAction, cells }));

it('every action is expected, and nothing else', () => {
  expect(ROWS.map(({ action }) => action).toSorted()).toEqual(Object.keys(OPERATOR_ACTIONS).toSorted());
  for (const { cells } of ROWS) expect(cells).toHaveLength(COLUMNS.length);
  expect(ROWS.length).toBeGreaterThanOrEqual(40);
  // Each is told from the others by its route, or by its parameters.
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
      // It names what was tried, so that it is this action that was refused, and the roles that may.
      expect(answer.json.error_description).toContain(action);
      const needed = COLUMNS.filter(
        (one, index) => one !== 'break-glass' && ROWS.find((row) => row.action === action)!.cells[index] !== '.',
      );
      for (const one of needed) expect(answer.json.error_description).toContain(one);
    },
  );
});

describe('a refusal', () => {
  it('is in the audit log with the person, and in the metrics', async () => {
    const viewer = await signIn(harness, 'a-viewer', ['viewer']);
    const { json } = await asOperator(harness, viewer, REQUESTS['sessions.close-all']);
    const row = (await asBreakGlass({ path: `/audit?decision=${json.decision_id}` })).json.rows[0];
    expect(row).toMatchObject({
      ...{ action: 'operator.close', outcome: 'refused', code: 'operator_forbidden' },
      ...{ subject: 'idp:a-viewer', login: 'a-viewer', issuer: 'idp' },
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

  it('stands in the audit log', async () => {
    const admin = await signIn(harness, 'an-admin', ['admin']);
    await asOperator(harness, admin, REQUESTS['sessions.close-all']);
    const { json } = await asOperator(harness, admin, { path: '/audit?last=1' });
    expect(json.rows[0]).toMatchObject({
      action: 'operator.close',
      reason: 'an-admin (idp:an-admin) asked for it: the matrix.',
    });
  });
});

describe('a plan', () => {
  it('tells an operator who is signed in and gains or loses a role, once for all of their sessions', async () => {
    const admin = await signIn(harness, 'a-loser', ['admin', 'viewer']);
    await signIn(harness, 'a-loser', ['admin', 'viewer']);
    const groups = ['everyone', 'viewer'] as unknown as OperatorRole[];
    await signIn(harness, 'a-winner', groups);
    const { json } = await asOperator(harness, admin, post('/policy/plan', files(TAKEOVER)));
    const named = (json.trust as { who: string }[]).filter(({ who }) => /a-loser|a-winner/.test(who));
    expect(named).toEqual([
      {
        ...{ about: 'role', who: 'a-loser (idp:a-loser), who is signed in,', does: 'loses' },
        ...{ what: 'the role admin', wider: false },
      },
      {
        ...{ about: 'role', who: 'a-winner (idp:a-winner), who is signed in,', does: 'gains' },
        ...{ what: 'the role admin', wider: true },
      },
    ]);
  });
});
