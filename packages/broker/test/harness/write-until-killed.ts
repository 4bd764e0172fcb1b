/**
 * A process that opens sessions until it is killed, and prints each on its standard output only once it is durable.
 * Arguments: data directory, and optionally a database URL.
 */

import { writeSync } from 'node:fs';
import { createJournal } from '../../src/audit/log/journal.ts';
import { openStore } from '../../src/store/open.ts';
import { openingOf } from './opening.ts';

const [dataDir = '', databaseUrl] = process.argv.slice(2);
const store = await openStore({ dataDir, databaseUrl });
const journal = createJournal({ store });

async function lane(name: string): Promise<void> {
  for (let n = 0; ; n++) {
    const id = `${process.pid}-${name}-${n}`;
    await journal.transaction(openingOf(id));
    // Synchronous, so that the reader has each line even if this process is killed.
    writeSync(1, `${id}\n`);
  }
}
await Promise.all(['a', 'b', 'c', 'd'].map(lane));
