import type { EdgeDecision } from '@meshpass/identity/channel';
import { expect, test, vi } from 'vitest';
import { createDecisionQueue } from '../src/index.ts';

const decision = (id: string, more: Partial<EdgeDecision> = {}): EdgeDecision => {
  return { id, at: 1, outcome: 'allowed', reason: 'yes', source: '192.0.2.1:1', ...more };
};

test('delivers concurrent decisions together, because each delivery is an audit log transaction', async () => {
  const deliveries: string[][] = [];
  const queue = createDecisionQueue({ deliver: async (batch) => void deliveries.push(batch.map(({ id }) => id)) });
  queue.report(decision('d1'));
  await new Promise((resolve) => setImmediate(resolve));
  queue.report(decision('d2'));
  await vi.waitFor(() => expect(queue.stats().posted).toBe(2), { timeout: 60_000 });
  expect(deliveries).toEqual([['d1', 'd2']]);
  await queue.close();
});

test('sums up the decisions of a busy session, so that it does not crowd out others', async () => {
  let away = true;
  const delivered: EdgeDecision[] = [];
  const queue = createDecisionQueue({
    maxQueue: 6,
    maxOfSession: 4,
    random: () => 0,
    deliver: async (batch) => {
      if (away) throw new Error('away');
      delivered.push(...batch);
    },
  });
  for (let n = 0; n < 100; n++) {
    queue.report(decision(`opened-${n}`, { session_id: 'noisy', target: 'orders.shop:80' }));
    queue.report(decision(`ended-${n}`, { session_id: 'noisy', outcome: 'ended', bytes_in: 1, bytes_out: 2 }));
  }
  queue.report(decision('quiet', { session_id: 'quiet' }));
  expect(queue.stats()).toMatchObject({ queued: 5, dropped: 0 });
  away = false;
  await vi.waitFor(() => expect(queue.stats().posted).toBe(7), 10_000);
  const sum = expect.stringMatching(/^[0-9a-f-]{36}$/);
  expect(delivered.map(({ id }) => id)).toEqual(['opened-0', 'ended-0', 'opened-1', 'ended-1', 'quiet', sum, sum]);
  const [opened, ended] = delivered.slice(-2);
  expect(opened).toMatchObject({ outcome: 'allowed', session_id: 'noisy', reason: expect.stringMatching(/^98 more /) });
  expect(ended).toMatchObject({ outcome: 'ended', session_id: 'noisy', bytes_in: 98, bytes_out: 196 });
  // The session's share is free again.
  queue.report(decision('later', { session_id: 'noisy' }));
  await queue.close();
  expect(delivered.at(-1)!.id).toBe('later');
});

test('keeps reached targets in sums, but no targets that a client chose itself', async () => {
  const delivered: EdgeDecision[] = [];
  const queue = createDecisionQueue({ maxOfSession: 1, deliver: async (batch) => void delivered.push(...batch) });
  queue.report(decision('first', { session_id: 'noisy' }));
  const report = (id: string, more: Partial<EdgeDecision>) =>
    queue.report(decision(id, { session_id: 'noisy', ...more }));
  for (let n = 0; n < 500; n++)
    report(`no-${n}`, { outcome: 'refused', code: 'tunnel_target_not_granted', target: `${n}.shop:80` });
  report('once', { spiffe_id: 'spiffe://cluster.local/ns/meshpass-ops/sa/ann', target: 'ledger-db.shop:5432' });
  for (let n = 0; n < 500; n++) report(`yes-${n}`, { target: `${n}.shop:80` });
  await queue.close();
  const sums = delivered.slice(1);
  expect(sums.length).toBeLessThan(210);
  expect(sums).toContainEqual(
    expect.objectContaining({
      outcome: 'allowed',
      target: 'ledger-db.shop:5432',
      reason: expect.stringMatching(/^1 more /),
      spiffe_id: 'spiffe://cluster.local/ns/meshpass-ops/sa/ann',
    }),
  );
  const refused = sums.filter(({ outcome }) => outcome === 'refused');
  expect(refused).toEqual([expect.not.objectContaining({ target: expect.anything() })]);
  const counted = sums.map(({ reason }) => Number(/^\d+/.exec(reason))).reduce((a, b) => a + b);
  expect(counted).toBe(1_001);
});

test('delivers sums when the queue closes', async () => {
  const delivered: EdgeDecision[] = [];
  const queue = createDecisionQueue({ maxOfSession: 1, deliver: async (batch) => void delivered.push(...batch) });
  for (const id of ['one', 'two', 'three']) queue.report(decision(id, { session_id: 'noisy' }));
  await queue.close();
  expect(delivered.map(({ reason }) => reason)).toEqual(['yes', expect.stringMatching(/^2 more /)]);
});
