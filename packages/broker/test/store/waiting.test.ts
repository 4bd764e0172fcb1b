/** What a broker that stands by sees of the store, beside which broker is active. */
import { tmpdir } from 'node:os';
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openStore } from '../../src/store/open.ts';
import { postgresIsThere, startPostgres, type TestPostgres } from '../harness/postgres.ts';

const SLOW = 120_000;

describe.skipIf(!postgresIsThere)('on PostgreSQL', () => {
  let postgres: TestPostgres;
  beforeAll(() => {
    postgres = startPostgres();
  }, SLOW);
  afterAll(() => postgres.stop());

  it(
    'sees whether an access file was applied by plan, as soon as one was',
    async () => {
      const options = { dataDir: tmpdir(), databaseUrl: postgres.url };
      const active = await openStore(options);
      const stop = new AbortController();
      const seen: boolean[] = [];
      const waiting = openStore({
        ...options,
        signal: stop.signal,
        onWaiting: ({ isPlanned }) => seen.push(isPlanned),
      });
      waiting.catch(() => undefined);
      await expect.poll(() => seen.at(-1), { timeout: SLOW }).toBe(false);
      await sql`insert into access_versions values (1, now(), 'ann', 'first', 'p', 'access.yaml', '{}')`.execute(
        active.db,
      );
      await expect.poll(() => seen.at(-1), { timeout: SLOW }).toBe(true);
      stop.abort();
      await expect(waiting).rejects.toThrow();
      await active.close();
    },
    SLOW,
  );
});
