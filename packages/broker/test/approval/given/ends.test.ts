/** End of an approved grant: the reported time is the real one. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { accessFile, startWorld, type World } from './world.ts';

const APPROVAL = 'approval: {by: {issuer: idp, when: subject == "idp:bob"}, for: 30m, max: 2h}';
const prod = (more: string) =>
  accessFile(`  prod:
    who: [{issuer: idp}]
    to: [{service: ledger.shop, port: 8080}]
    ${more}`);

let world: World;
beforeAll(async () => {
  world = await startWorld();
});
afterAll(() => world.harness.stop());

it('shows the end of the grant if its session limit comes before the approved time', async () => {
  const { harness, use, people, post, rows } = world;
  use(prod(`session: 10m\n    ${APPROVAL}`));
  const [alice, bob] = await people('alice', 'bob');
  const opened = harness.now();
  const { id } = (await post(alice!, '/approvals', { grant: 'prod', reason: 'INC-1', seconds: 3600 })).json;
  const answered = await post(bob!, '/approvals/answer', { id, decision: 'approve' });
  expect(answered.json).toMatchObject({ state: 'approved', seconds: 3600, until: expect.closeTo(opened + 600, -1) });
  const { until } = answered.json;
  expect(JSON.parse((await rows('approval.answer')).at(-1)!.detail!)).toMatchObject({ state: 'approved', until });
  expect(JSON.parse((await rows('session.widen')).at(-1)!.detail!)).toMatchObject({ until: { prod: until } });
  const [own] = (await world.overview(alice!)).own;
  expect(own).toMatchObject({ id, until });
});

it('keeps a grant, after a withdrawal, that the access file now grants without an approval', async () => {
  const { use, people, post, grants } = world;
  use(prod(APPROVAL));
  const [alice, bob] = await people('alice', 'bob');
  const { id } = (await post(alice!, '/approvals', { grant: 'prod', reason: 'INC-1' })).json;
  expect((await post(bob!, '/approvals/answer', { id, decision: 'approve' })).json.state).toBe('approved');
  use(prod(''));
  expect((await post(alice!, '/approvals/withdraw', { id })).json.state).toBe('withdrawn');
  await expect.poll(() => grants(alice!)).toEqual(['dev', 'prod']);
});
