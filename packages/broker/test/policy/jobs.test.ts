/** Jobs plan one at a time, however many ask. */
import { expect, it } from 'vitest';
import { policyRoutes } from '../../src/admin/routes/policy.ts';

const handler = (at: string, changes: object) =>
  policyRoutes(changes as never, undefined as never, undefined as never).find((one) => one.at === at)!.handler as (
    call: object,
  ) => Promise<unknown>;

it('reaches the prover with one job at a time, and refuses jobs without a place', async () => {
  const asked: PromiseWithResolvers<object>[] = [];
  const plan = () => {
    const one = Promise.withResolvers<object>();
    asked.push(one);
    return one.promise;
  };
  const ask = handler('POST /policy/plan', { plan });
  const call = (by: string) => ask({ caller: { by }, body: {}, event: {} });
  const [first, second] = [call('pull request 1'), call('pull request 1')];
  await expect(call('pull request 1')).rejects.toMatchObject({ code: 'overloaded' });
  const third = call('pull request 2');
  expect(asked).toHaveLength(1);
  const failed = expect(first).rejects.toThrow('it takes too long');
  asked[0]!.reject(new Error('it takes too long'));
  await failed;
  expect(asked).toHaveLength(2);
  const made = { findings: [], manifests: [], resources: [], reach: [] };
  asked[1]!.resolve(made);
  expect(await second).toMatchObject({ refused: false });
  asked[2]!.resolve(made);
  expect(await third).toMatchObject({ refused: false });
  void call('pull request 1');
  expect(asked).toHaveLength(4);
});
