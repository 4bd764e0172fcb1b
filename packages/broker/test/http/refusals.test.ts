/** Refusals in the audit log: all known facts of the request, once. */
import { MeshpassError } from '@meshpass/identity';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { enrol, type Harness, OPERATOR_TOKEN, startHarness } from '../harness/broker.ts';
import { grant } from '../harness/mesh.ts';
import { playPolicyMesh } from '../harness/policy-mesh.ts';

const OPERATOR = { authorization: `Bearer ${OPERATOR_TOKEN}` };
let isClusterAway = true;
const MESH = playPolicyMesh({
  read: async () => {
    if (isClusterAway) throw new MeshpassError('kubernetes_unavailable', 'Kubernetes does not answer.');
    return [];
  },
});

let harness: Harness;

beforeAll(async () => {
  harness = await startHarness({ parts: () => ({ policy: { mesh: MESH, authorOf: undefined } }) });
  harness.mesh.setAccess([grant('dev')]);
});
afterAll(() => harness.stop());

async function rowsOf(of: Harness, decision: string) {
  return (await of.operatorCall({ path: `/audit?decision=${decision}`, headers: OPERATOR })).json.rows;
}

/** The row of a refused `POST`. */
async function refusedRow(of: Harness, path: string, body: object) {
  const headers = { ...OPERATOR, 'content-type': 'application/json' };
  const { json } = await of.operatorCall({ method: 'POST', path, headers, body: JSON.stringify(body) });
  const rows = await rowsOf(of, json.decision_id);
  expect(rows).toHaveLength(1);
  return rows[0];
}

it('names the version of a rollback that is refused', async () => {
  const row = await refusedRow(harness, '/policy/rollback', { version: 7, reason: 'incident 4711' });
  expect(row).toMatchObject({ outcome: 'refused', code: 'plan_unknown', target: 'version 7', subject: 'break-glass' });
});

it('names the plan of a change that is refused, for its file or for a cluster that does not answer', async () => {
  const change = (text: string, plan: string) =>
    refusedRow(harness, '/policy/apply', { files: { 'access.yaml': text }, plan, reason: 'a test' });
  isClusterAway = false;
  expect(await change('nonsense: 1\n', 'a'.repeat(64))).toMatchObject({
    outcome: 'refused',
    code: 'access_file_invalid',
    target: `access.yaml plan ${'a'.repeat(64)}`,
  });
  isClusterAway = true;
  expect(await change('trust: {}\ngrants: {}\n', 'b'.repeat(64))).toMatchObject({
    outcome: 'refused',
    code: 'kubernetes_unavailable',
    target: `access.yaml plan ${'b'.repeat(64)}`,
  });
});

it('counts a session whose answer fails once, as allowed', async () => {
  const services = vi.spyOn(harness.mesh, 'services').mockImplementation(() => {
    throw new Error('services broke');
  });
  const answer = await enrol(harness, 'alice');
  services.mockRestore();
  expect(answer).toMatchObject({ status: 500, json: { error_code: 'internal' } });
  expect(await rowsOf(harness, answer.json.decision_id)).toMatchObject([
    { action: 'session.open', outcome: 'allowed' },
  ]);
  const { text } = await harness.operatorCall('/metrics');
  const counts = text.split('\n').filter((line) => /^meshpass_decisions_total.*session\.open/.test(line));
  expect(counts).toEqual([expect.stringMatching(/outcome="allowed".* 1$/)]);
  expect(harness.log.join('')).toContain('services broke');
});
