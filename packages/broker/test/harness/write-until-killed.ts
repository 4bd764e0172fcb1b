/**
 * A process that opens sessions and says so on its standard output only once each is durable, until it is killed.
 * Arguments: data directory, and optionally a database URL.
 */

import { randomBytes } from 'node:crypto';
import { writeSync } from 'node:fs';
import { auditRow, newEvent } from '../../src/audit/log/event.ts';
import { createJournal } from '../../src/audit/log/journal.ts';
import { openStore } from '../../src/store/open.ts';

const [dataDir = '', databaseUrl] = process.argv.slice(2);
const store = await openStore({ dataDir, databaseUrl });
const journal = createJournal({ store });

async function lane(name: string): Promise<void> {
  for (let n = 0; ; n++) {
    const id = `${process.pid}-${name}-${n}`;
    const at = new Date().toISOString();
    const session = {
      ...{ id, token_hash: id, jkt: 'jkt', attestor: 'oidc', issuer: 'idp', subject: 'idp:alice', login: 'alice' },
      ...{ workspace_key: id, workspace_name: id, attestation: '{}', grants: '[]', opened_at: at, expires_at: at },
      ...{ closed_at: null, close_cause: null },
    };
    const event = { ...newEvent('session.open', {}, Date.now, randomBytes), sessionId: id };
    const row = auditRow(event, 'allowed', 'for the test', undefined, Date.now());
    await journal.write({ opened: { session, principals: [] }, audit: [row] });
    // Synchronous: once written, the reader has it, whatever becomes of this process.
    writeSync(1, `${id}\n`);
  }
}
await Promise.all(['a', 'b', 'c', 'd'].map(lane));
