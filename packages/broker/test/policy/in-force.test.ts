import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { keepInForce, readInForce } from '../../src/policy/in-force.ts';
import { openStore, type Store } from '../../src/store/open.ts';
import { afterInitdb } from '../harness/initdb.ts';

let dataDir: string;
let store: Store;
beforeAll(async () => {
  dataDir = mkdtempSync(join(tmpdir(), 'meshpass-in-force-'));
  store = await openStore({ dataDir: await afterInitdb(dataDir) });
});
afterAll(async () => {
  await store?.close();
  rmSync(dataDir, { recursive: true, force: true });
});

const failed = (cause: unknown) => {
  throw cause;
};

it('keeps the digest of the file that came into force last, and only for the broker that is active', async () => {
  expect(await readInForce(store.db)).toBeUndefined();
  const keep = keepInForce(store, failed);
  await keep('a'.repeat(64));
  await keep('b'.repeat(64));
  expect(await readInForce(store.db)).toBe('b'.repeat(64));
  await keepInForce({ ...store, db: store.db, epoch: store.epoch - 1, isLeader: () => true }, failed)('c'.repeat(64));
  expect(await readInForce(store.db)).toBe('b'.repeat(64));
});

it('asks a store that does not answer again, and gives up for a newer digest', async () => {
  let left = 1;
  const failures: unknown[] = [];
  // A closed door once, then the store.
  const doors = {
    get db() {
      if (left-- > 0) throw new Error('closed');
      return store.db;
    },
    epoch: store.epoch,
    isLeader: () => true,
  };
  await keepInForce(doors, (cause) => failures.push(cause))('d'.repeat(64));
  expect(failures).toHaveLength(1);
  expect(await readInForce(store.db)).toBe('d'.repeat(64));
});
