/** While the store is away, the journal asks once a second for the outcome of lost answers, however many requests came. */
import { MeshpassError } from '@meshpass/identity';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { createJournal } from '../../src/audit/log/journal.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

it('asks a store that is away once a second', async () => {
  let asked = 0;
  const store = {
    commit: async () => {
      asked++;
      throw new Error('The connection was refused.');
    },
    db: {},
  };
  const chain = { seal: async (rows: unknown[]) => rows, grown: () => {}, reload: async () => {} };
  const journal = createJournal({ store: store as never, chain: chain as never });
  const write = (record: Parameters<typeof journal.transaction>[0]) =>
    expect(journal.transaction(record)).rejects.toBeInstanceOf(MeshpassError);
  await write((tx) => tx.audit({ id: 'a' } as never));
  for (let second = 0; second < 60; second++) {
    await write(() => {});
    await vi.advanceTimersByTimeAsync(1_000);
  }
  const before = asked;
  await vi.advanceTimersByTimeAsync(10_000);
  expect(asked - before).toBe(10);
});
