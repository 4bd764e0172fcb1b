import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { openStore, type Store } from '../../src/store/open.ts';
import { openVersions } from '../../src/xds/versions.ts';
import { afterInitdb } from '../harness/initdb.ts';

let dataDir: string;
let store: Store;
let now: number;
const open = () => openVersions(store, () => now);

beforeEach(async () => {
  dataDir = mkdtempSync(join(tmpdir(), 'meshpass-versions-'));
  store = await openStore({ dataDir: await afterInitdb(dataDir) });
  now = 1_000_000;
});
afterEach(async () => {
  await store.close();
  rmSync(dataDir, { recursive: true });
});

it('gives equal content the same version, also after a restart', async () => {
  const version = await (await open()).of('dev', 'a');
  now += 5_000;
  expect(await (await open()).of('dev', 'a')).toBe(version);
});

it('gives other content a higher version, however the clock goes', async () => {
  const versions = await open();
  const first = await versions.of('dev', 'a');
  expect(await versions.of('dev', 'b')).toBeGreaterThan(first);
  now -= 500_000;
  const after = await open();
  // Never a version of before, although the content is.
  expect(await after.of('dev', 'a')).toBeGreaterThan(first + 1);
});

it('is the time where nothing else decides', async () => {
  expect(await (await open()).of('dev', 'a')).toBe(now);
});

it('puts a set of grants above the version of another one, for a session whose grants have changed', async () => {
  const versions = await open();
  const few = await versions.of('dev', 'a');
  const many = await versions.of('dev,ops', 'b');
  expect(many).toBeGreaterThan(few);
  const raised = await versions.above('dev', 'a', many);
  expect(raised).toBeGreaterThan(many);
  expect(await versions.above('dev', 'a', many)).toBe(raised);
});

it('is not raised by a version that nobody was given', async () => {
  const versions = await open();
  const version = await versions.of('dev', 'a');
  expect(await versions.above('dev', 'a', Number.MAX_SAFE_INTEGER)).toBe(version);
});

it('is not raised again and again by two sessions that each name the version of the other', async () => {
  const versions = await open();
  let few = await versions.of('dev', 'a');
  let many = await versions.of('dev,ops', 'b');
  const given = new Set([few, many]);
  for (let n = 0; n < 100; n++) {
    now += 100;
    few = await versions.above('dev', 'a', many);
    many = await versions.above('dev,ops', 'b', few);
    given.add(few).add(many);
  }
  expect(given.size).toBeLessThan(20);
  // Later on, a session whose grants have changed gets its version all the same.
  now += 60_000;
  const higher = Math.max(few, many);
  const [lower, digest] = few < many ? (['dev', 'a'] as const) : (['dev,ops', 'b'] as const);
  expect(await versions.above(lower, digest, higher)).toBeGreaterThan(higher);
});
