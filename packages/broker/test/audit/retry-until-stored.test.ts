/** The broker stores what must not be lost, regardless of how long that takes. */
import { MeshpassError } from '@meshpass/identity';
import { expect, it, vi } from 'vitest';
import type { AuditRow } from '../../src/audit/log/event.ts';
import { retryUntilStored, writeCountedRefusals } from '../../src/audit/log/retry-until-stored.ts';
import { playJournal } from '../harness/journal.ts';

function journalThatRefuses(...first: readonly string[]) {
  const left = [...first];
  let written = 0;
  const rows: string[] = [];
  return {
    written: () => written,
    rows: () => rows,
    ...playJournal(async ({ audit }) => {
      const code = left.shift();
      if (code) throw new MeshpassError(code as 'overloaded', 'refused');
      written += 1;
      rows.push(...audit.map(({ id }) => id));
    }),
  };
}

it('waits for a place in a full journal, which is no failure', async () => {
  const journal = journalThatRefuses('overloaded');
  const failures: unknown[] = [];
  await retryUntilStored({ journal, onFailure: (cause) => failures.push(cause) }, () => {});
  expect([journal.written(), failures]).toEqual([1, []]);
});

it('reports a store that does not answer, and tries again', async () => {
  const journal = journalThatRefuses('store_unavailable');
  const failures: unknown[] = [];
  await retryUntilStored({ journal, onFailure: (cause) => failures.push(cause) }, () => {});
  expect([journal.written(), failures]).toMatchObject([1, [{ code: 'store_unavailable' }]]);
});

it('counts refusals while the store is away, and writes each row once', async () => {
  const journal = journalThatRefuses('store_unavailable');
  const row = (id: string) => ({ id }) as AuditRow;
  const due = [row('first')];
  const stop = writeCountedRefusals({ journal, onFailure: () => {} }, 10, () => due.splice(0));
  await vi.waitFor(() => expect(due).toEqual([]), { timeout: 60_000 });
  due.push(row('second'));
  expect(journal.rows()).toEqual([]);
  await vi.waitFor(() => expect(journal.rows()).toEqual(['first', 'second']), { timeout: 10_000 });
  due.push(row('last'));
  stop();
  await vi.waitFor(() => expect(journal.rows()).toEqual(['first', 'second', 'last']), { timeout: 60_000 });
});
