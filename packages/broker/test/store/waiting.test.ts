/** View of a standby broker on the store, besides the active broker's identity. */
import { tmpdir } from 'node:os';
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { AppliedRow } from '../../src/store/leader-election.ts';
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
    'sees the access file that was applied by plan last, as soon as one was, and reads each once',
    async () => {
      const options = { dataDir: tmpdir(), databaseUrl: postgres.url };
      const active = await openStore(options);
      const stop = new AbortController();
      const seen: (AppliedRow | undefined)[] = [];
      const waiting = openStore({
        ...options,
        signal: stop.signal,
        onWaiting: ({ access }) => seen.push(access.applied),
      });
      waiting.catch(() => undefined);
      await expect.poll(() => seen.length, { timeout: SLOW }).toBeGreaterThan(0);
      expect(seen.at(-1)).toBeUndefined();
      const apply = (version: number, files: string) =>
        sql`insert into access_versions values (${version}, now(), 'ann', 'r', 'p', 'access.yaml', ${files})`.execute(
          active.db,
        );
      await apply(1, '{"access.yaml":"a"}');
      const first = { version: '1', main: 'access.yaml', files: '{"access.yaml":"a"}' };
      await expect.poll(() => seen.at(-1), { timeout: SLOW }).toMatchObject(first);
      const looks = seen.length;
      await expect.poll(() => seen.length, { timeout: SLOW }).toBeGreaterThan(looks);
      expect(seen.at(-1)).toBe(seen[looks - 1]);
      await apply(2, '{"access.yaml":"b"}');
      const second = { version: '2', main: 'access.yaml', files: '{"access.yaml":"b"}' };
      await expect.poll(() => seen.at(-1), { timeout: SLOW }).toMatchObject(second);
      stop.abort();
      await expect(waiting).rejects.toThrow();
      await active.close();
    },
    SLOW,
  );
});
