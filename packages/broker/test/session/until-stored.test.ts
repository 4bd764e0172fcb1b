/** What has ended is written down, however long that takes. */
import { MeshpassError } from '@meshpass/identity';
import { expect, it } from 'vitest';
import { untilStored } from '../../src/session/lifecycle.ts';

function journalThatRefuses(...first: readonly string[]) {
  const left = [...first];
  let written = 0;
  return {
    written: () => written,
    flush: async () => {},
    write: async () => {
      const code = left.shift();
      if (code) throw new MeshpassError(code as 'overloaded', 'refused');
      written += 1;
    },
  };
}

it('waits for a place in a full journal, which is no failure', async () => {
  const journal = journalThatRefuses('overloaded');
  const failures: unknown[] = [];
  await untilStored({ journal, onFailure: (cause) => failures.push(cause) }, { audit: [] });
  expect([journal.written(), failures]).toEqual([1, []]);
});

it('tells of a store that does not answer, and tries again', async () => {
  const journal = journalThatRefuses('store_unavailable');
  const failures: unknown[] = [];
  await untilStored({ journal, onFailure: (cause) => failures.push(cause) }, { audit: [] });
  expect([journal.written(), failures]).toMatchObject([1, [{ code: 'store_unavailable' }]]);
});
