/** A store that answers late. */
import { expect, it, vi } from 'vitest';
import { storeDelay, withLateAnswers } from './late-store.ts';

it('delays a transaction, and keeps its answer and the rest of the store', async () => {
  const commit = vi.fn(async (steps: readonly string[]) => {
    if (steps.includes('bad')) throw new Error('refused');
  });
  const store = withLateAnswers({ commit, kind: 'pglite' }, 100, () => 0.5);
  const began = performance.now();
  await store.commit(['good']);
  expect(performance.now() - began).toBeGreaterThan(45);
  expect(commit).toHaveBeenCalledWith(['good']);
  expect(store.kind).toBe('pglite');
  await expect(store.commit(['bad'])).rejects.toThrow('refused');
});

it('is off without the variable, and refuses a wrong value', () => {
  expect(storeDelay({})).toBe(0);
  expect(storeDelay({ MESHPASS_TEST_STORE_DELAY_MS: '250' })).toBe(250);
  expect(() => storeDelay({ MESHPASS_TEST_STORE_DELAY_MS: '-1' })).toThrow('no number of milliseconds');
});
