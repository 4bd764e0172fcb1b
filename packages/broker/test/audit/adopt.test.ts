/** A store as versions made it that kept no checkpoint outside of it, and the start that upgrades it. */

import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Kysely, PostgresDialect, sql } from 'kysely';
import { Migrator } from 'kysely/migration';
import pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { formatCheckpoint } from '../../src/audit/checkpoint/checkpoint.ts';
import { openAuditKey } from '../../src/audit/checkpoint/key.ts';
import { type CheckpointSink, fileSink } from '../../src/audit/checkpoint/sink.ts';
import { auditRow, newEvent } from '../../src/audit/log/event.ts';
import { seal } from '../../src/audit/log/leaf.ts';
import { BEGINNING } from '../../src/audit/log/rows.ts';
import { growTree } from '../../src/audit/log/tree.ts';
import { admitLog } from '../../src/audit/restore/admit.ts';
import { createAdoption } from '../../src/audit/restore/adopt.ts';
import { MIGRATIONS } from '../../src/store/migrate.ts';
import { type Db, openStore, type Store, type StoreOptions } from '../../src/store/open.ts';
import { openPglite } from '../../src/store/pglite.ts';
import { readStore } from '../harness/audit.ts';
import { startHarness } from '../harness/broker.ts';
import { afterInitdb } from '../harness/initdb.ts';
import { ENGINES, startPostgres, type TestPostgres } from '../harness/postgres.ts';

const SLOW = 180_000;
const URL_OF_BROKER = 'https://broker.example';
const OLD = Object.fromEntries(Object.entries(MIGRATIONS).filter(([name]) => name < '007'));

const migrator = (db: Db) => new Migrator({ db, provider: { getMigrations: async () => OLD } });

/** Rows and checkpoints as the last version wrote them that had the first six migrations. */
async function writeAsOld(db: Db, keyFile: string, { start = {} }: { readonly start?: object } = {}): Promise<void> {
  expect((await migrator(db).migrateToLatest()).error).toBeUndefined();
  const key = await openAuditKey(keyFile, URL_OF_BROKER, true);
  const tree = growTree(BEGINNING);
  const end = { seq: 0, hash: BEGINNING.hash };
  const write = async (count: number) => {
    const events = Array.from({ length: count }, (_, n) =>
      end.seq + n === 0
        ? { ...newEvent('broker.start', {}, Date.now, randomBytes), detail: { epoch: 1, ...start } }
        : { ...newEvent('token.issue', {}, Date.now, randomBytes), subject: `s${n}` },
    );
    const rows = seal(
      events.map((event) => auditRow(event, 'allowed', 'tested', undefined, Date.now())),
      end,
    );
    await sql`select meshpass_write(0, ${JSON.stringify({ audit: rows })}::jsonb)`.execute(db);
    for (const row of rows) tree.append(row.hash);
    Object.assign(end, rows.at(-1));
  };
  for (const rows of [3, 4]) {
    await write(rows);
    const { size, peaks } = tree.frontier();
    const note = key.sign(formatCheckpoint({ origin: key.origin, size, root: tree.root(), isCut: false }));
    const values = { size: String(size), hash: end.hash, peaks: JSON.stringify(peaks), note, time: new Date() };
    await db.insertInto('audit_checkpoints').values(values).execute();
  }
  // A broker that was killed before it had signed these.
  await write(2);
}

describe.each(ENGINES.filter(([, isThere]) => isThere))('a store of an older version, on %s', (engine) => {
  let postgres: TestPostgres | undefined;
  let dir: string;
  let options: StoreOptions;
  let keyFile: string;
  let sink: CheckpointSink;

  beforeAll(() => {
    postgres = engine === 'postgres' ? startPostgres() : undefined;
  }, SLOW);
  afterAll(() => postgres?.stop());
  beforeEach(async () => {
    dir = mkdtempSync(join(tmpdir(), 'meshpass-adopt-'));
    keyFile = join(dir, 'audit-key.pem');
    sink = fileSink(join(dir, 'outside'), []);
    options = { dataDir: join(dir, 'data'), ...(postgres && { databaseUrl: postgres.url }) };
    if (!postgres) await afterInitdb(options.dataDir);
    else await withDb((db) => sql.raw('drop schema public cascade; create schema public').execute(db));
    return () => rmSync(dir, { recursive: true });
  });

  /** Not through openStore(), which migrates. */
  async function withDb(act: (db: Db) => Promise<unknown>): Promise<void> {
    if (postgres) {
      const db: Db = new Kysely({
        dialect: new PostgresDialect({ pool: new pg.Pool({ connectionString: postgres.url }) }),
      });
      await act(db).finally(() => db.destroy());
    } else {
      const { dialect, close } = openPglite(options.dataDir);
      await act(new Kysely({ dialect })).finally(close);
    }
  }
  /** As serveBroker() does. */
  async function start(act: (store: Store) => Promise<void> = async () => {}) {
    const store = await openStore(options);
    try {
      const key = await openAuditKey(keyFile, URL_OF_BROKER, false);
      await createAdoption({ store, key, sinks: [sink], clock: Date.now, random: randomBytes })();
      const admitted = await admitLog(store.db, key, [sink]);
      await act(store);
      return admitted;
    } finally {
      await store.close();
    }
  }
  const tamper = (...statements: string[]) =>
    withDb(async (db) => {
      for (const table of ['audit', 'audit_checkpoints'])
        await sql.raw(`alter table ${table} disable trigger all`).execute(db);
      for (const statement of statements) await sql.raw(statement).execute(db);
      for (const table of ['audit', 'audit_checkpoints'])
        await sql.raw(`alter table ${table} enable trigger all`).execute(db);
    });

  it(
    'starts, once, with its own newest checkpoint, and says so in a row',
    async () => {
      await withDb((db) => writeAsOld(db, keyFile));
      const { known, isNew } = await start(async ({ db }) => {
        const rows = await db.selectFrom('audit').selectAll().orderBy('seq').execute();
        expect(rows.at(-1)).toMatchObject({
          action: 'audit.adopt',
          outcome: 'allowed',
          target: 'broker.example/audit',
        });
        expect(JSON.parse(rows.at(-1)!.detail!)).toMatchObject({ size: 7, rows: 9 });
        expect(rows).toHaveLength(10);
      });
      expect(known.newest?.checkpoint.size).toBe(7);
      expect(isNew).toBe(false);
      // The next start finds it outside, and writes nothing.
      await start(async ({ db }) => {
        expect(await db.selectFrom('audit').select('seq').execute()).toHaveLength(10);
      });
      // From now on what is outside is missed.
      rmSync(join(dir, 'outside'));
      await expect(start()).rejects.toMatchObject({ code: 'audit_checkpoint_missing' });
    },
    SLOW,
  );

  it(
    'is not adopted twice, though somebody drops the new migration from it',
    async () => {
      await withDb((db) => writeAsOld(db, keyFile));
      await start();
      rmSync(join(dir, 'outside'));
      await tamper(
        'drop table audit_restores, configuration_versions, access_in_force, approval_requests, approval_deliveries',
        'drop table operator_sessions, operator_confirmations',
        'alter table sessions drop column sign_ins',
        `delete from kysely_migration where name >= '007'`,
      );
      await expect(start()).rejects.toMatchObject({
        code: 'audit_checkpoint_missing',
        message: expect.stringContaining('row 10 was written by a version that has checkpoints outside of the store'),
      });
    },
    SLOW,
  );

  it(
    'is not adopted where the log began under this version',
    async () => {
      await withDb((db) => writeAsOld(db, keyFile, { start: { checkpoint: null } }));
      await expect(start()).rejects.toThrow(/row 1 was written by a version that has checkpoints outside/);
    },
    SLOW,
  );

  it.each([
    ['a row was changed', `update audit set subject = 'x' where seq = 2`, 'audit_tampered'],
    ['rows were cut off that are signed', 'delete from audit where seq > 5', 'audit_tampered'],
    ['a row after the checkpoint was changed', `update audit set subject = 'x' where seq = 9`, 'audit_tampered'],
    [
      'the newest checkpoint is not signed',
      `update audit_checkpoints set note = 'x' where size = 7`,
      'audit_checkpoint_missing',
    ],
    ['no checkpoint is in it', 'delete from audit_checkpoints', 'audit_checkpoint_missing'],
  ])(
    'is not adopted where %s',
    async (_, statement, code) => {
      await withDb((db) => writeAsOld(db, keyFile));
      await tamper(statement);
      await expect(start()).rejects.toMatchObject({ code });
      expect(await sink.read()).toBeUndefined();
    },
    SLOW,
  );

  it(
    'is not adopted by another key',
    async () => {
      await withDb((db) => writeAsOld(db, keyFile));
      keyFile = join(dir, 'another.pem');
      await openAuditKey(keyFile, URL_OF_BROKER, true);
      await expect(start()).rejects.toMatchObject({ code: 'audit_checkpoint_missing' });
    },
    SLOW,
  );

  it(
    'is held against what is outside, where an operator has put it there before',
    async () => {
      await withDb((db) => writeAsOld(db, keyFile));
      await withDb(async (db) => {
        const { note } = await db
          .selectFrom('audit_checkpoints')
          .select('note')
          .where('size', '=', '7')
          .executeTakeFirstOrThrow();
        await sink.write(note, { epoch: 1, size: 7 });
      });
      await tamper('delete from audit where seq > 3', 'delete from audit_checkpoints where size > 3');
      await expect(start()).rejects.toMatchObject({ code: 'audit_log_behind' });
    },
    SLOW,
  );

  it(
    'is not opened by the older version after that',
    async () => {
      await withDb((db) => writeAsOld(db, keyFile));
      await start();
      await withDb(async (db) => {
        const { error } = await migrator(db).migrateToLatest();
        expect(String(error)).toContain('previously executed migration 007-audit-restores is missing');
      });
    },
    SLOW,
  );
});

it(
  'a whole broker of this version starts on such a store, and the next one, too',
  async () => {
    const harness = await startHarness();
    const dataDir = join(harness.dir, 'data');
    await harness.broker.close();
    rmSync(dataDir, { recursive: true });
    await afterInitdb(dataDir);
    const { dialect, close } = openPglite(dataDir);
    await writeAsOld(new Kysely({ dialect }), join(dataDir, 'audit-key.pem')).finally(close);
    await harness.restart();
    await harness.restart();
    await harness.broker.close();
    const { audit } = await readStore({ dataDir });
    await harness.stop();
    const told = audit.slice(9).map(({ action, detail }) => [action, JSON.parse(detail!).checkpoint?.size]);
    expect(told.slice(0, 2)).toEqual([
      ['audit.adopt', undefined],
      ['broker.start', 7],
    ]);
    expect(told.filter(([action]) => action === 'audit.adopt')).toHaveLength(1);
    expect(told.filter(([action]) => action === 'broker.start')).toHaveLength(2);
  },
  SLOW,
);
