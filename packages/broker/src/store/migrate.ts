/**
 * Brings the schema up to date. A migration is never edited once released; the next one mends it. From 009 on its name says which
 * versions can go on after it: README.md, "A migration".
 */

import { MeshpassError } from '@meshpass/identity';
import { type Kysely, sql } from 'kysely';
import { type Migration, Migrator } from 'kysely/migration';
import { MIGRATIONS_TO_008 } from './migrations-to-008.ts';
import { newerMigrations } from './schema-level.ts';
import type { Tables } from './tables.ts';
import { WRITE_BATCH } from './write-batch.ts';

/** The first migration of a version that keeps the newest checkpoint outside of the store, too. */
const KEEPS_CHECKPOINTS_OUTSIDE = '007-audit-restores';

export interface Migrated {
  /** The store was made by a version that kept no checkpoint outside of it, and this very call has migrated it from there. */
  readonly fromInsideOnly: boolean;
}

export type Migrations = Readonly<Record<string, Migration>>;

/**
 * Applies every missing migration in one transaction each. Those of a newer version stay as they are.
 * @throws MeshpassError `store_newer` where a newer version left this one behind, before anything is written; `store_unavailable`
 */
export async function migrate(db: Kysely<Tables>, migrations: Migrations = MIGRATIONS): Promise<Migrated> {
  const before = await executedMigrations(db);
  const newer = newerMigrations(before, Object.keys(migrations)).map((name) => [name, NEWER] as const);
  const all = { ...migrations, ...Object.fromEntries(newer) };
  const migrator = new Migrator({ db, provider: { getMigrations: async () => all } });
  const { error } = await migrator.migrateToLatest();
  if (error) throw new MeshpassError('store_unavailable', 'The store could not be migrated.', { cause: error });
  return { fromInsideOnly: before.length > 0 && !before.includes(KEEPS_CHECKPOINTS_OUTSIDE) };
}

/** Kysely refuses a store with migrations that it is not given. These are in the store, so that they are not run. */
const NEWER: Migration = {
  async up() {
    throw new Error('a migration of a newer version cannot be run by this one');
  },
};

async function executedMigrations(db: Kysely<Tables>): Promise<readonly string[]> {
  const table = await sql<{ there: boolean }>`select to_regclass('kysely_migration') is not null as there`.execute(db);
  if (!table.rows[0]?.there) return [];
  const { rows } = await sql<{ name: string }>`select name from kysely_migration`.execute(db);
  return rows.map(({ name }) => name);
}

export const MIGRATIONS: Migrations = {
  ...MIGRATIONS_TO_008,
  '009-access-in-force.compatible-with-008': {
    async up(db) {
      await sql`
        create table access_in_force (
          singleton boolean primary key default true check (singleton),
          digest text not null
        )`.execute(db);
    },
  },
  '010-gained-grants.compatible-with-008': {
    async up(db) {
      // A grant that is lost and gained again is another principal's: the one before may still be denied.
      await sql`
        alter table session_principals drop constraint session_principals_pkey,
        add primary key (session_id, grant_name, service_account)`.execute(db);
    },
  },
  '011-approval-requests.compatible-with-008': {
    async up(db) {
      await sql`
        create table approval_requests (
          id text primary key,
          session_id text not null,
          issuer text not null,
          subject text not null,
          login text not null,
          workspace text not null,
          identities text not null,
          grant_name text not null,
          seconds integer not null,
          reason text,
          asked_at timestamptz not null,
          answer_by timestamptz not null,
          needed integer not null,
          state text not null,
          answers text not null,
          until timestamptz
        )`.execute(db);
      await sql`
        create index approval_requests_open on approval_requests (session_id)
        where state in ('pending', 'approved')`.execute(db);
      await sql`create index approval_requests_asked on approval_requests (asked_at)`.execute(db);
      await sql.raw(WRITE_BATCH).execute(db);
    },
  },
  '012-approval-deliveries.compatible-with-008': {
    async up(db) {
      await sql`
        create table approval_deliveries (
          id text primary key,
          webhook text not null,
          request_id text not null,
          body text not null,
          created_at timestamptz not null,
          next_at timestamptz not null,
          attempts integer not null
        )`.execute(db);
      await sql`create index approval_deliveries_next on approval_deliveries (next_at)`.execute(db);
      await sql.raw(WRITE_BATCH).execute(db);
    },
  },
  '013-operators.compatible-with-008': {
    async up(db) {
      await sql`
        create table operator_sessions (
          id text primary key,
          token_hash text not null unique,
          jkt text not null,
          kind text not null,
          issuer text not null,
          subject text not null,
          login text not null,
          attestation text,
          source text,
          opened_at timestamptz not null,
          expires_at timestamptz not null,
          closed_at timestamptz,
          close_cause text
        )`.execute(db);
      await sql.raw(WRITE_BATCH).execute(db);
    },
  },
  '014-sign-ins.compatible-with-008': {
    async up(db) {
      await sql`alter table sessions add column sign_ins text`.execute(db);
      await sql.raw(WRITE_BATCH).execute(db);
    },
  },
  '015-confirmations.compatible-with-008': {
    async up(db) {
      await sql`
        create table operator_confirmations (
          id text primary key,
          action text not null,
          method text not null,
          path text not null,
          body text not null,
          digest text not null,
          session_id text not null,
          subject text not null,
          login text not null,
          reason text,
          target text,
          asked_at timestamptz not null,
          expires_at timestamptz not null,
          closed_at timestamptz,
          confirmed_by text
        )`.execute(db);
      await sql.raw(WRITE_BATCH).execute(db);
    },
  },
  '016-emergencies.compatible-with-008': {
    async up(db) {
      await sql`alter table approval_requests add column review_state text, add column review text`.execute(db);
      await sql.raw(WRITE_BATCH).execute(db);
    },
  },
  '017-operators-confirmed.compatible-with-008': {
    async up(db) {
      await sql`alter table operator_sessions add column confirmed_at timestamptz`.execute(db);
      await sql.raw(WRITE_BATCH).execute(db);
    },
  },
};
