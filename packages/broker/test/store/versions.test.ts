/** Going forward to a newer version's migrations on one store, and back. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Kysely, PostgresDialect, sql } from 'kysely';
import type { Migration } from 'kysely/migration';
import pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createJournal } from '../../src/audit/log/journal.ts';
import { MIGRATIONS, type Migrations, newerMigrations, parseMigrationName } from '../../src/store/migrate.ts';
import { type Db, openStore, type Store, type StoreOptions } from '../../src/store/open.ts';
import { openPglite } from '../../src/store/pglite.ts';
import { openingOf } from '../harness/opening.ts';
import { ENGINES, postgresIsThere, startPostgres, type TestPostgres } from '../harness/postgres.ts';
import { afterInitdb } from '../harness/store/initdb.ts';

const SLOW = 180_000;
/** Level of the schema; smaller ones belong to versions that were never released. */
const FIRST = 22;
const LEVEL = FIRST + Object.keys(MIGRATIONS).length - 1;
const level = (n: number) => String(LEVEL + n).padStart(3, '0');

/** Adds a column. This version can still run after such a migration: its rows have null in the new column. */
const EXPANDS: Migration = {
  up: async (db) => void (await sql`alter table sessions add column region text`.execute(db)),
};
/** Removes a column that this version reads. */
const CONTRACTS: Migration = { up: async (db) => void (await sql`alter table sessions drop column login`.execute(db)) };
const NEXT: Migrations = { ...MIGRATIONS, [`${level(1)}-region.compatible-with-${level(0)}`]: EXPANDS };
/** A version whose stores cannot be upgraded. */
const OLDER: Migrations = { '019-older': Object.values(MIGRATIONS)[0]! };
const AFTER_NEXT: Migrations = { ...NEXT, [`${level(2)}-no-login.compatible-with-${level(1)}`]: CONTRACTS };

describe('the migrations of this version', () => {
  it('are numbered without a gap, and each after the schema states which version can still run after it', () => {
    const names = Object.keys(MIGRATIONS).sort();
    expect(names.map((name) => parseMigrationName(name)?.level)).toEqual(names.map((_, n) => FIRST + n));
    for (const name of names.slice(1)) expect(name).toMatch(/\.compatible-with-\d{3}$/);
  });
});

describe('a broker with migration 008 as its newest', () => {
  const known = ['007-a', '008-b'];
  it.each([
    [[]],
    [known],
    [[...known, '009-c.compatible-with-008']],
    [[...known, '009-c.compatible-with-008', '010-d.compatible-with-005']],
  ])('still runs with %j', (executed) => {
    expect(newerMigrations(executed, known)).toEqual(executed.filter((name) => !known.includes(name)));
  });

  it.each([
    [['009-says-nothing']],
    [['009-c.compatible-with-009']],
    [['009-c.compatible-with-008', '010-d.compatible-with-009']],
    [['010-d.compatible-with-009', '011-e.compatible-with-008']],
    [['009-c.compatible-with-8']],
    [['009-c.compatible-with-008.and-more']],
    [['of somebody else']],
  ])('refuses to run with %j', (executed) => {
    expect(() => newerMigrations([...known, ...executed], known)).toThrow(
      expect.objectContaining({ code: 'store_newer', status: 409, retryable: false }),
    );
  });

  it.each([[['006-x']], [['001-x', '007-b.compatible-with-005']], [['008-b', '009-c.compatible-with-008']]])(
    'does not upgrade %j, whose schema another migration created',
    (executed) => {
      expect(() => newerMigrations(executed, known)).toThrow(
        expect.objectContaining({ code: 'store_older', status: 409, retryable: false }),
      );
    },
  );

  it('repeats nothing of the database that could break a line of its log', () => {
    expect(() => newerMigrations([`999\n\u001b[2J${'x'.repeat(200)}`], known)).toThrow(/\(999\?\?\?2Jx{92}\)/);
  });
});

describe.each(ENGINES)('on %s', (engine, isThere) => {
  if (!isThere) {
    it.skip('is not tested here: no PostgreSQL programs and no DATABASE_URL', () => {});
    return;
  }
  let postgres: TestPostgres | undefined;
  let options: StoreOptions;
  beforeAll(() => {
    postgres = engine === 'postgres' ? startPostgres() : undefined;
  }, SLOW);
  afterAll(() => postgres?.stop());
  beforeEach(async () => {
    const dir = mkdtempSync(join(tmpdir(), 'meshpass-versions-'));
    options = { dataDir: join(dir, 'data'), ...(postgres && { databaseUrl: postgres.url }) };
    if (postgres) await withDb((db) => sql.raw('drop schema public cascade; create schema public').execute(db));
    else await afterInitdb(options.dataDir);
    return () => rmSync(dir, { recursive: true, force: true });
  });

  /** Opens the database without openStore(), which would migrate it. */
  async function withDb<T>(act: (db: Db) => Promise<T>): Promise<T> {
    if (postgres) {
      const dialect = new PostgresDialect({ pool: new pg.Pool({ connectionString: postgres.url }) });
      const db: Db = new Kysely({ dialect });
      return await act(db).finally(() => db.destroy());
    }
    const { dialect, close } = openPglite(options.dataDir);
    return await act(new Kysely({ dialect })).finally(close);
  }
  /** Opens the store as a version with these migrations does, and writes a session. */
  const run = async (migrations: Migrations, session: string) => {
    const store = await openStore({ ...options, migrations });
    await write(store, session).finally(() => store.close());
  };
  const state = () =>
    withDb(async (db) => ({
      migrations: (await sql<{ name: string }>`select name from kysely_migration order by name`.execute(db)).rows,
      epoch: (await db.selectFrom('broker_epoch').selectAll().execute())[0],
      sessions: (await db.selectFrom('sessions').select('id').orderBy('id').execute()).map(({ id }) => id),
    }));

  it(
    "a version starts again after the next one's migration and writes, and the next one continues from there",
    async () => {
      await run(MIGRATIONS, 'a');
      const { epoch: first } = await state();
      await run(NEXT, 'b');
      await run(MIGRATIONS, 'c');
      await run(NEXT, 'd');
      const { migrations, sessions, epoch } = await state();
      expect(migrations.map(({ name }) => name)).toEqual(Object.keys(NEXT).sort());
      expect(sessions).toEqual(['a', 'b', 'c', 'd']);
      expect(epoch!.epoch).toBeGreaterThanOrEqual(first!.epoch + 3);
      const regions = await withDb((db) => sql`select region from sessions where id = 'c'`.execute(db));
      expect(regions.rows).toEqual([{ region: null }]);
    },
    SLOW,
  );

  it(
    'a version that a migration leaves behind refuses to start and writes nothing; the one between still starts',
    async () => {
      await run(MIGRATIONS, 'a');
      await run(AFTER_NEXT, 'b');
      const before = await state();
      expect(before.migrations).toHaveLength(Object.keys(AFTER_NEXT).length);
      await expect(openStore(options)).rejects.toMatchObject({
        code: 'store_newer',
        message: expect.stringContaining(`${level(2)}-no-login.compatible-with-${level(1)}`),
      });
      expect(await state()).toEqual(before);
      const between = await openStore({ ...options, migrations: NEXT });
      await between.close();
    },
    SLOW,
  );

  it(
    'a store whose schema is that of a version before the first migration is refused, and nothing is written',
    async () => {
      await run(OLDER, 'a');
      const before = await state();
      await expect(openStore(options)).rejects.toMatchObject({
        code: 'store_older',
        message: expect.stringContaining('019-older'),
      });
      expect(await state()).toEqual(before);
    },
    SLOW,
  );
});

describe.skipIf(!postgresIsThere)('of several brokers on one PostgreSQL', () => {
  let postgres: TestPostgres;
  let options: StoreOptions;
  beforeAll(() => {
    postgres = startPostgres();
    options = { dataDir: tmpdir(), databaseUrl: postgres.url };
  }, SLOW);
  afterAll(() => postgres.stop());

  /** Resolves when it stands by; `active` resolves when it is the active one. */
  const standBy = async (migrations: Migrations) => {
    const waiting = Promise.withResolvers<void>();
    const active = openStore({ ...options, migrations, onWaiting: () => waiting.resolve() });
    active.catch(waiting.reject);
    await waiting.promise;
    return { active };
  };

  it(
    'one stays active while a newer one stands by, follows it again, and stands by for it',
    async () => {
      const old = await openStore(options);
      const newer = await standBy(NEXT);
      await write(old, 'while a newer one waits');
      await old.close();
      const next = await newer.active;
      await write(next, 'by the newer one');

      const older = await standBy(MIGRATIONS);
      await write(next, 'while an older one waits');
      await next.close();
      const back = await older.active;
      await write(back, 'by the older one');
      expect(await back.db.selectFrom('sessions').select('id').execute()).toHaveLength(4);
      await back.close();
    },
    SLOW,
  );

  it(
    'one that a migration leaves behind ends as soon as it sees it, although another is active',
    async () => {
      const active = await openStore({ ...options, migrations: NEXT });
      const waiting = await standBy(MIGRATIONS);
      const name = `${level(2)}-no-login.compatible-with-${level(1)}`;
      await sql`insert into kysely_migration values (${name}, ${new Date().toISOString()})`.execute(active.db);
      await expect(waiting.active).rejects.toMatchObject({ code: 'store_newer' });
      await expect(openStore(options)).rejects.toMatchObject({ code: 'store_newer' });
      await write(active, 'by the active one');
      await active.close();
    },
    SLOW,
  );
});

async function write(store: Store, id: string): Promise<void> {
  await createJournal({ store }).transaction(openingOf(id));
}
