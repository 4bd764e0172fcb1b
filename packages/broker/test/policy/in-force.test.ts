import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MeshpassError } from '@meshpass/identity';
import { sql } from 'kysely';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { createPolicyRecorder } from '../../src/admin/policy/record.ts';
import { createStoredAccessReader, readStoredAccess } from '../../src/admin/policy/stored-access.ts';
import { createJournal } from '../../src/audit/log/journal.ts';
import { createLogger } from '../../src/base/telemetry/log.ts';
import { type DiskFile, digestTexts } from '../../src/mesh/reconcile/access-file.ts';
import type { FormerAccessFile } from '../../src/mesh/reconcile/mesh-state.ts';
import { openStore, type Store } from '../../src/store/open.ts';
import { journalVia } from '../harness/journal.ts';
import { releaseStore, reusedStore } from '../harness/store/engines.ts';

let dataDir: string;
let store: Store;
beforeAll(async () => {
  dataDir = mkdtempSync(join(tmpdir(), 'meshpass-in-force-'));
  store = await openStore(await reusedStore(dataDir));
});
afterAll(async () => {
  await store?.close();
  await releaseStore(dataDir);
  rmSync(dataDir, { recursive: true, force: true });
});

/** Records files in force. The store loses the first `refusals` attempts. */
function recording(refusals = 0) {
  const failures: unknown[] = [];
  const real = createJournal({ store });
  const journal = journalVia(real, async (_, write) => {
    if (refusals-- > 0) throw new MeshpassError('store_unavailable', 'The store does not answer.');
    await write();
  });
  const context = {
    journal,
    clock: Date.now,
    random: randomBytes,
    onFailure: (cause: unknown) => failures.push(cause),
  };
  const { decision } = createPolicyRecorder(context, createLogger('broker', 'silent'));
  return {
    failures,
    keep: (disk: DiskFile) => decision({ outcome: 'allowed', reason: 'in force', file: 'access.yaml', disk }),
    stored: real.flush,
  };
}

/** A file that includes another. */
function diskFile(user: string): DiskFile {
  const files = {
    'access.yaml': `include: [teams/shop.yaml]
trust: {codespaces: {organization: acme}}
grants:
  dev: {who: [{user: ${user}}], to: [{service: orders.shop, port: 80}]}
`,
    'teams/shop.yaml': `grants:
  shop: {who: [{user: ${user}}], to: [{service: orders.shop, port: 80}]}
`,
  };
  return { digest: digestTexts(files), main: 'access.yaml', files };
}
const userOf = (kept: FormerAccessFile | undefined) => kept?.access?.grants[0]?.who[0]?.user;

it('keeps the text of the file that came into force last', async () => {
  expect(await readStoredAccess(store.db)).toBeUndefined();
  const { keep, stored } = recording();
  keep(diskFile('ann'));
  keep(diskFile('bob'));
  await stored();
  const kept = await readStoredAccess(store.db);
  expect([kept?.digest, userOf(kept)]).toEqual([diskFile('bob').digest, 'bob']);
});

it('goes without a text that does not have the digest', async () => {
  const { keep, stored } = recording();
  keep(diskFile('ann'));
  await stored();
  await sql`update access_in_force set digest = ${'f'.repeat(64)}`.execute(store.db);
  expect(await readStoredAccess(store.db)).toEqual({ digest: 'f'.repeat(64), access: undefined });
});

it('goes without a text that this version refuses', () => {
  const files = { 'access.yaml': 'grants: [' };
  const digest = digestTexts(files);
  const row = { digest, main: 'access.yaml', files: JSON.stringify(files) };
  expect(createStoredAccessReader()({ applied: undefined, inForce: row }).kept).toEqual({ digest, access: undefined });
});

it('keeps a newer file although the store takes the one before it later', async () => {
  const rows = () => store.db.selectFrom('audit').select('id').where('action', '=', 'policy.apply').execute();
  const before = (await rows()).length;
  const { keep, failures } = recording(1);
  keep(diskFile('carl'));
  keep(diskFile('dora'));
  await vi.waitFor(async () => expect(await rows()).toHaveLength(before + 2), { timeout: 10_000 });
  expect(failures).toHaveLength(1);
  expect(userOf(await readStoredAccess(store.db))).toBe('dora');
});
