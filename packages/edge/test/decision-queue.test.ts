import type { EdgeDecision } from '@meshpass/identity';
import { expect, test, vi } from 'vitest';
import { queueDecisions } from '../src/index.ts';

const decision = (id: string): EdgeDecision => {
  return { id, at: 1, outcome: 'allowed', reason: 'yes', source: '192.0.2.1:1' };
};

test('decisions of one moment are delivered together: each delivery is a transaction of the audit log', async () => {
  const deliveries: string[][] = [];
  const queue = queueDecisions({ deliver: async (batch) => void deliveries.push(batch.map(({ id }) => id)) });
  queue.report(decision('d1'));
  await new Promise((resolve) => setImmediate(resolve));
  queue.report(decision('d2'));
  await vi.waitFor(() => expect(queue.stats().posted).toBe(2));
  expect(deliveries).toEqual([['d1', 'd2']]);
  await queue.close();
});
