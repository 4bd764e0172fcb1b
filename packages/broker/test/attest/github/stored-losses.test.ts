/** Losses that the store has to learn: written before it is closed, and never again after that. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { createLosses, type Fact, type Losses } from '../../../src/attest/github/losses.ts';
import { persistLosses } from '../../../src/attest/github/stored-losses.ts';
import { openStore, type Store } from '../../../src/store/open.ts';
import { afterInitdb } from '../../harness/initdb.ts';

const job = (id: number): Fact => ({ kind: 'job', job: 'a job', id });

let dataDir: string;
let store: Store;
let losses: Losses;
let failures: unknown[];
beforeEach(async () => {
  dataDir = mkdtempSync(join(tmpdir(), 'meshpass-losses-'));
  store = await openStore({ dataDir: await afterInitdb(dataDir) });
  losses = createLosses(Date.now);
  failures = [];
});
afterEach(async () => {
  await store.close();
  rmSync(dataDir, { recursive: true });
});
const keep = () => persistLosses(store, losses, (cause) => failures.push(cause));

it('has all of them when it stops, and tries none of those that come later', async () => {
  const kept = await keep();
  // The second waits until the first is written.
  for (const id of [1, 2, 3]) losses.lose(job(id));
  await kept.stop();
  const rows = await store.db.selectFrom('losses').select('fact').orderBy('fact').execute();
  expect(rows.map(({ fact }) => fact)).toEqual(['a job 1', 'a job 2', 'a job 3']);
  losses.lose(job(4));
  await kept.stop();
  expect(await store.db.selectFrom('losses').select('fact').execute()).toHaveLength(3);
  expect(failures).toEqual([]);
});

it('gives up when it stops, where the store is away: tried at once, and no more', async () => {
  const kept = await keep();
  const away = vi.spyOn(store.db, 'getExecutor').mockImplementation(() => {
    throw new Error('the store is away');
  });
  losses.lose(job(1));
  await vi.waitFor(() => expect(failures).toHaveLength(1));
  await kept.stop();
  expect(failures).toHaveLength(2);
  away.mockRestore();
});
