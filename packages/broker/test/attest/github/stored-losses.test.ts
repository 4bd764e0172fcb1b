/** Losses in the store. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createLosses, type Fact } from '../../../src/attest/github/losses.ts';
import { persistLosses } from '../../../src/attest/github/stored-losses.ts';
import { createJournal } from '../../../src/audit/log/journal.ts';
import { openStore, type Store } from '../../../src/store/open.ts';
import { releaseStore, reusedStore } from '../../harness/store/engines.ts';

const failed = (cause: unknown) => expect.fail(String(cause));
const job = (id: number): Fact => ({ kind: 'job', job: 'a job', id });

let dataDir: string;
let store: Store;
beforeEach(async () => {
  dataDir = mkdtempSync(join(tmpdir(), 'meshpass-losses-'));
  store = await openStore(await reusedStore(dataDir));
});
afterEach(async () => {
  await store.close();
  await releaseStore(dataDir);
  rmSync(dataDir, { recursive: true });
});

it('loads them for the next broker, each once with its last time', async () => {
  const journal = createJournal({ store });
  const context = { store, journal, onFailure: failed };
  let now = 1_000_000;
  const losses = createLosses(() => now * 1000);
  await persistLosses(context, losses);
  for (const id of [1, 2, 3]) losses.lose(job(id));
  now += 60;
  losses.lose(job(1));
  await journal.flush();
  const rows = await store.db.selectFrom('losses').selectAll().orderBy('fact').execute();
  expect(rows.map(({ fact, learnt_at }) => [fact, learnt_at.getTime() / 1000 - now])).toEqual([
    ['a job 1', 0],
    ['a job 2', -60],
    ['a job 3', -60],
  ]);
  const next = createLosses(() => now * 1000);
  await persistLosses(context, next);
  expect([1, 2, 3, 4].map((id) => next.isLost(job(id)))).toEqual([true, true, true, false]);
});
