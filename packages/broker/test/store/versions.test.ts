/** Going forward to a newer version's migrations on one store, and back. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Kysely, PostgresDialect, sql } from 'kysely';
import type { Migration } from 'kysely/migration';
import pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createJournal } from '../../src/audit/log/journal.ts';
import { MIGRATIONS, type Migrations } from '../../src/store/migrate.ts';
import { type Db, openStore, type Store, type StoreOptions } from '../../src/store/open.ts';
import { openPglite } from '../../src/store/pglite.ts';
import { newerMigrations, readMigrationName } from '../../src/store/schema-level.ts';
import { afterInitdb } from '../harness/initdb.ts';
import { openingOf } from '../harness/opening.ts';
import { ENGINES, postgresIsThere, startPostgres, type TestPostgres } from '../harness/postgres.ts';

const SLOW = 180_000;
const LEVEL = Object.keys(MIGRATIONS).length;
const level = (n: number) => String(LEVEL + n).padStart(3, '0');

/** Adds a column, as a version does after which this one can go on: what this one writes has null there. */
const EXPANDS: Migration = {
  up: async (db) => void (await sql`alter table sessions add column region text`.execute(db)),
};
/** Takes one away that this version reads. */
const CONTRACTS: Migration = { up: async (db) => void (await sql`alter table sessions drop column login`.execute(db)) };
const NEXT: Migrations = { ...MIGRATIONS, [`${level(1)}-region.compatible-with-${level(0)}`]: EXPANDS };
const AFTER_NEXT: Migrations = { ...NEXT, [`${level(2)}-no-login.compatible-with-${level(1)}`]: CONTRACTS };

describe('the migrations of this version', () => {
  it('are numbered without a gap, and from 009 on each says which version can go on after it', () => {
    const names = Object.keys(MIGRATIONS).sort();
    expect(names.map((name) => readMigrationName(name)?.level)).toEqual(names.map((_, n) => n + 1));
    for (const name of names.slice(8)) expect(name).toMatch(/\.compatible-with-\d{3}$/);
  });
});

describe('a broker with migration 008 as its newest', () => {
  const known = ['007-a', '008-b'];
  it.each([
    [[]],
    [known],
    [[...known, '009-c.compatible-with-008']],
    [[...known, '009-c.compatible-with-008', '010-d.compatible-with-005']],
  ])('goes on with %j', (executed) => {
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
  ])('does not go on with %j', (executed) => {
    expect(() => newerMigrations([...known, ...executed], known)).toThrow(
      expect.objectContaining({ code: 'store_newer', status: 409, retryable: false }),
    );
  });

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

  /** Not through openStore(), which migrates. */
  async function withDb<T>(act: (db: Db) => Promise<T>): Promise<T> {
    if (postgres) {
      const dialect = new PostgresDialect({ pool: new pg.Pool({ connectionString: postgres.url }) });
      const db: Db = new Kysely({ dialect });
      return await act(db).finally(() => db.destroy());
    }
    const { dialect, close } = openPglite(options.dataDir);
    return await act(new Kysely({ dialect })).finally(close);
  }
  /** Opens it as a version with these migrations does, and opens a session. */
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
    'a version goes back after the migration of the next one, writes, and the next one goes on with what it wrote',
    async () => {
      await run(MIGRATIONS, 'a');
      await run(NEXT, 'b');
      await run(MIGRATIONS, 'c');
      await run(NEXT, 'd');
      const { migrations, sessions, epoch } = await state();
      expect(migrations.map(({ name }) => name)).toEqual(Object.keys(NEXT).sort());
      expect(sessions).toEqual(['a', 'b', 'c', 'd']);
      expect(epoch?.epoch).toBe(4);
      const regions = await withDb((db) => sql`select region from sessions where id = 'c'`.execute(db));
      expect(regions.rows).toEqual([{ region: null }]);
    },
    SLOW,
  );

  it(
    'a version that was left behind refuses to start, and writes nothing; the one between goes on',
    async () => {
      await run(MIGRATIONS, 'a');
      await run(AFTER_NEXT, 'b');
      const before = await state();
      expect(before.migrations).toHaveLength(LEVEL + 2);
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
  await createJournal({ store }).write(openingOf(id));
}
