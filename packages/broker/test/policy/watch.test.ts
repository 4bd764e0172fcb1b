/** A watch whose proofs fail. */
import { parseAccess } from '@meshpass/access';
import { afterEach, expect, it, vi } from 'vitest';
import { watchPolicy } from '../../src/admin/policy/watch-foreign-policies.ts';

afterEach(() => vi.useRealTimers());

it('proves again after a failure without another change, and pauses for three times its duration', async () => {
  vi.useFakeTimers();
  const access = parseAccess(
    'trust: {codespaces: {organization: acme}}\ngrants: {dev: {who: [{user: ann}], to: [{service: orders.shop, port: 80}]}}',
    'access.yaml',
  );
  const mesh = { inForce: () => access, read: async () => [], tokens: () => undefined, onChange: () => () => {} };
  const prove = vi.fn(async () => {
    await new Promise((resolve) => setTimeout(resolve, 60_000));
    throw new Error('it takes too long');
  });
  const onFailure = vi.fn();
  const watch = watchPolicy({ mesh: mesh as never, prover: { prove }, onFinding: () => {}, onFailure });
  await vi.advanceTimersByTimeAsync(62_000);
  expect([prove.mock.calls.length, onFailure.mock.calls.length]).toEqual([1, 1]);
  await vi.advanceTimersByTimeAsync(170_000);
  expect(prove).toHaveBeenCalledTimes(1);
  await vi.advanceTimersByTimeAsync(20_000);
  expect(prove).toHaveBeenCalledTimes(2);
  await vi.advanceTimersByTimeAsync(60_000);
  await watch.stop();
});

it('begins the pause at the end of a proof, however often policies change', async () => {
  vi.useFakeTimers();
  const access = parseAccess(
    'trust: {codespaces: {organization: acme}}\ngrants: {dev: {who: [{user: ann}], to: [{service: orders.shop, port: 80}]}}',
    'access.yaml',
  );
  let changed = () => {};
  const onChange = (listener: () => void) => {
    changed = listener;
    return () => {};
  };
  const mesh = { inForce: () => access, read: async () => [], tokens: () => undefined, onChange };
  const began: number[] = [];
  const prove = async () => {
    began.push(performance.now());
    await new Promise((resolve) => setTimeout(resolve, 6_000));
    return { plan: { findings: [] } };
  };
  const watch = watchPolicy({
    mesh: mesh as never,
    prover: { prove: prove as never },
    onFinding: () => {},
    onFailure: () => {},
  });
  for (let n = 0; n < 1_000; n++) {
    await vi.advanceTimersByTimeAsync(100);
    changed();
  }
  const pauses = began.slice(1).map((at, index) => at - began[index]! - 6_000);
  expect(pauses).toHaveLength(4);
  for (const pause of pauses) expect(pause).toBeGreaterThanOrEqual(18_000);
  const stopping = watch.stop();
  await vi.advanceTimersByTimeAsync(6_000);
  await stopping;
});
