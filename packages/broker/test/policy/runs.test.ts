/** Replacement of access files: a late or repeated job, or an old plan, brings no old file into force. */
import { type Access, parseAccess } from '@meshpass/access';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import type { PolicyAuthor } from '../../src/admin/policy/author.ts';
import { type Answer, type Harness, OPERATOR_TOKEN, startHarness } from '../harness/broker.ts';
import { playPolicyMesh } from '../harness/policy-mesh.ts';

const fileOf = (user: string, admin = 'ada') => `trust:
  codespaces: {organization: acme}
  issuers: {idp: {issuer: 'https://idp.example', audience: meshpass, signIn: {client: c}}}
operators: {admin: [{issuer: idp, claims: {sub: ${admin}}}]}
grants: {dev: {who: [{user: ${user}}], to: [{service: orders.shop, port: 8080}]}}
`;
const filesOf = (text: string) => ({ main: 'access.yaml', files: { 'access.yaml': text } });

let harness: Harness;
let inForce: Access;
let author: PolicyAuthor;
let disk: string;
/** How often the file on disk was put in charge. */
let followed = 0;
/** Files with which a starting broker continues instead of the one on disk. */
const resumed: Access[] = [];
beforeAll(async () => {
  const mesh = playPolicyMesh({
    inForce: () => inForce,
    take: async (access) => {
      inForce = access;
    },
    resume: (access) => void resumed.push(access),
    onDisk: () => filesOf(disk),
    followDisk: async () => {
      followed++;
    },
  });
  harness = await startHarness({ parts: () => ({ policy: { mesh, authorOf: async () => author } }) });
});
afterAll(() => harness?.stop());
beforeEach(() => {
  disk = fileOf('nobody');
  inForce = parseAccess(disk, 'access.yaml');
});

const run = (id: number, of = 'https://github.example 77'): PolicyAuthor => ({
  by: `acme/platform#${id}`,
  run: { of, id, commit: id.toString(16).padStart(40, '0') },
});
const send = (path: string, body: object): Promise<Answer> =>
  harness.call({
    method: 'POST',
    path,
    body: JSON.stringify(body),
    headers: { authorization: 'Bearer of-a-job', 'content-type': 'application/json' },
  });
/** Plans like the command: a fresh plan, and its id. */
const applyBy = async (by: PolicyAuthor, text: string, more: object = {}): Promise<Answer> => {
  author = by;
  const { json } = await send('/policy/plan', filesOf(text));
  return await send('/policy/apply', { ...filesOf(text), plan: json.id, ...more });
};
const codeOf = ({ status, json }: Answer) => json.error_code ?? status;
const asBreakGlass = { authorization: `Bearer ${OPERATOR_TOKEN}`, 'content-type': 'application/json' };
const asOperator = (path: string, body: object): Promise<Answer> =>
  harness.operatorCall({
    method: 'POST',
    path,
    body: JSON.stringify(body),
    headers: asBreakGlass,
  });
const holder = () => inForce.grants[0]!.who[0];

it('a job of an earlier run, or of the same one again, replaces no file of a later run', async () => {
  expect(codeOf(await applyBy(run(5), fileOf('eve', 'eve')))).toBe(200);
  expect(codeOf(await applyBy(run(7), fileOf('ann')))).toBe(200);
  const ann = holder();
  for (const late of [5, 6, 7]) {
    const answer = await applyBy(run(late), fileOf('eve', 'eve'));
    expect(answer).toMatchObject({ status: 409, json: { error_code: 'plan_stale' } });
    expect(answer.json.error_description).toContain('Run 7 has already applied an access file');
    expect(holder()).toEqual(ann);
  }
  // A file that an operator put in force takes nothing from the order of the runs.
  const back = await asOperator('/policy/rollback', { version: 1, reason: 'it was better' });
  expect(back.status).toBe(200);
  expect(holder()).not.toEqual(ann);
  expect(codeOf(await applyBy(run(7), fileOf('ann')))).toBe('plan_stale');
  expect(codeOf(await applyBy(run(8), fileOf('ann')))).toBe(200);
  expect(holder()).toEqual(ann);
  // Another repository has an order of its own.
  expect(codeOf(await applyBy(run(2, 'https://github.example 78'), fileOf('bob')))).toBe(200);
});

it('a run whose file was refused may be the newest without being in force', async () => {
  author = run(20);
  expect(codeOf(await send('/policy/apply', { ...filesOf(fileOf('ann')), plan: '0'.repeat(64) }))).toBe('plan_stale');
  expect(codeOf(await applyBy(run(19), fileOf('ann')))).toBe(200);
  expect(codeOf(await applyBy(run(20), fileOf('bob')))).toBe(200);
});

it('a job accepts nothing that is unknown', async () => {
  for (const accept_unknown of [true, false])
    expect(codeOf(await applyBy(run(30), fileOf('ann'), { accept_unknown }))).toBe('request_malformed');
  expect(codeOf(await applyBy(run(30), fileOf('ann')))).toBe(200);
});

it('a plan replaces the file for which it was made, even if the cluster is the same with the next one', async () => {
  const [first, next] = [filesOf(fileOf('ann')), filesOf(fileOf('bob'))];
  const planned = await asOperator('/policy/plan', next);
  // Only people who operate differ: no object of the cluster.
  inForce = parseAccess(fileOf('nobody', 'mallory'), 'access.yaml');
  const order = { ...next, plan: planned.json.id, reason: 'as planned' };
  expect(codeOf(await asOperator('/policy/apply', order))).toBe('plan_stale');
  const again = await asOperator('/policy/plan', next);
  expect(codeOf(await asOperator('/policy/apply', { ...order, plan: again.json.id }))).toBe(200);
  expect(codeOf(await asOperator('/policy/apply', { ...first, plan: planned.json.id, reason: 'as planned' }))).toBe(
    'plan_stale',
  );
});

it('the run and its commit are in the audit log', async () => {
  expect(codeOf(await applyBy(run(40), fileOf('ann')))).toBe(200);
  const { json } = await harness.operatorCall({
    path: '/audit?last=1',
    headers: asBreakGlass,
  });
  expect(JSON.parse(json.rows[0].detail)).toMatchObject({ run: 40, commit: '28'.padStart(40, '0') });
});

it('an operator hands the file back to the one on disk, by the same rules, and a broker that starts follows that one', async () => {
  expect(codeOf(await applyBy(run(50), fileOf('ann')))).toBe(200);
  await harness.restart();
  expect(resumed.map(({ grants }) => grants)).toEqual([inForce.grants]);
  disk = fileOf('bob');
  const seen = await harness.operatorCall({ path: '/policy/versions/0', headers: asBreakGlass });
  expect(seen.json).toEqual(filesOf(disk));
  expect((await asOperator('/policy/rollback', { version: 0 })).status).toBe(400);
  expect(followed).toBe(0);
  expect((await asOperator('/policy/rollback', { version: 0, reason: 'the chart has it' })).status).toBe(200);
  expect(inForce.grants).toEqual(parseAccess(disk, 'access.yaml').grants);
  expect(followed).toBe(1);
  const { versions } = (await harness.operatorCall({ path: '/policy/history', headers: asBreakGlass })).json;
  expect(versions[0].reason).toMatch(/^Reverted to the file on disk by .*: the chart has it$/);
  await harness.restart();
  expect(resumed).toHaveLength(1);
  // The next file that is applied by plan is in charge again.
  expect(codeOf(await applyBy(run(51), fileOf('ann')))).toBe(200);
  await harness.restart();
  expect(resumed).toHaveLength(2);
});
