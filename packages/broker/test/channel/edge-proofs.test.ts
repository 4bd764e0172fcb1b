/** Proofs that an edge may have the broker verify. */
import { createLeaseProof, type LeaseRenewal } from '@meshpass/identity/channel';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Harness, session, startHarness } from '../harness/broker.ts';
import { grant } from '../harness/mesh.ts';

let harness: Harness;
beforeAll(async () => {
  harness = await startHarness();
  harness.mesh.setAccess([grant('dev')]);
});
afterAll(() => harness.stop());

test('an edge may send only so many proofs; those of other edges are renewed in the meantime', async () => {
  const { session: opened, key } = await session(harness, 'alice');
  harness.clockStandsAt = Date.now();
  let seq = 0;
  const lease = (): LeaseRenewal => {
    const at = harness.clockStandsAt! + harness.clockAhead;
    return { session_id: opened.id, proof: createLeaseProof({ sid: opened.id, seq: ++seq, at }, key) };
  };
  const renew = async (leases: readonly LeaseRenewal[], token = 'edge-token') => {
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
    const call = { method: 'POST', path: '/leases', headers, body: JSON.stringify({ leases }) };
    return (await harness.call(call)).json.answers as { statement?: string; error_code?: string }[];
  };
  const flood = Array.from({ length: 500 }, () => ({ session_id: 'made-up', proof: 'x' }));
  for (let n = 0; n < 39; n++) expect((await renew(flood)).at(-1)).toMatchObject({ error_code: 'dpop_malformed' });
  const [last, ...others] = await renew([lease(), ...flood.slice(1)]);
  expect(last).toHaveProperty('statement');
  expect(others).toHaveLength(499);
  expect(await renew([lease(), ...flood.slice(1)])).toEqual([
    { session_id: opened.id, error_code: 'overloaded' },
    ...flood.slice(1).map(({ session_id }) => ({ session_id, error_code: 'overloaded' })),
  ]);
  const [byAnother] = await renew([lease()], 'another-edge-token');
  expect(byAnother).toHaveProperty('statement');

  // 15 more tokens.
  harness.clockAhead += 10;
  const answers = await renew([lease(), ...flood.slice(1)]);
  expect(answers[0]).toHaveProperty('statement');
  expect(answers.filter(({ error_code }) => error_code === 'overloaded')).toHaveLength(485);
});
