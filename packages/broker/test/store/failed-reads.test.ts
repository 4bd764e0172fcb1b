/** Reads whose query fails. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sql } from 'kysely';
import { expect, it } from 'vitest';
import { recentRequests } from '../../src/admin/approval/rows.ts';
import { findNewestRun, listVersions, readVersion } from '../../src/admin/policy/stored-access.ts';
import { openStore } from '../../src/store/open.ts';

it('asks the client to try again, instead of an internal error', async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'meshpass-failed-reads-'));
  try {
    const store = await openStore({ dataDir });
    await sql`drop table approval_requests, access_versions`.execute(store.db);
    const reads = [
      recentRequests(store, {}, 1),
      listVersions(store.db),
      readVersion(store.db, 1),
      findNewestRun(store.db, 'x'),
    ];
    const settled = await Promise.allSettled(reads);
    await store.close();
    for (const read of settled)
      expect(read).toMatchObject({ reason: { code: 'store_unavailable', message: 'The store is not responding.' } });
  } finally {
    rmSync(dataDir, { recursive: true, force: true });
  }
});
