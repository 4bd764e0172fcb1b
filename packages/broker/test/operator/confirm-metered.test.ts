/** An operator whom their issuer does not confirm any more, and who keeps trying. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Harness, OPERATOR_TOKEN } from '../harness/broker.ts';
import { asOperator, confirmSignIn, refreshedIdToken, signIn, startWithOperators } from '../harness/operators.ts';

let harness: Harness;
beforeAll(async () => {
  harness = await startWithOperators();
});
afterAll(() => harness?.stop());

it('an operator who is not confirmed any more does not fill the audit log', async () => {
  const who = await signIn(harness, 'flo', ['viewer']);
  harness.clockAhead += 301_000;
  // No allowance grows back while a busy machine is slow.
  harness.clockStandsAt = Date.now();
  const codes = new Set<string>();
  for (let n = 0; n < 130; n++)
    codes
      .add((await asOperator(harness, who, { path: '/operator/session' })).json.error_code)
      .add((await confirmSignIn(harness, who, 'x')).json.error_code);
  expect([...codes].toSorted()).toEqual(['operator_unconfirmed', 'proof_malformed', 'too_many_attempts']);
  const headers = { authorization: `Bearer ${OPERATOR_TOKEN}` };
  const { json } = await harness.operatorCall({ path: '/audit?last=1000', headers });
  const rows = json.rows.filter((row: { subject: string; outcome: string }) => row.subject === 'idp:flo');
  // 200 of one source at once, and one a second.
  expect(rows.length).toBeLessThan(230);
  expect((await confirmSignIn(harness, who, refreshedIdToken(harness, 'flo', ['viewer']))).json.error_code).toBe(
    'too_many_attempts',
  );
  harness.clockAhead += 3_000;
  expect((await confirmSignIn(harness, who, refreshedIdToken(harness, 'flo', ['viewer']))).status).toBe(200);
});
