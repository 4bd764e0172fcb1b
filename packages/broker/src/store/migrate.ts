/**
 * Brings the schema up to date. A migration is never edited once released; the next one mends it. From 009 on its name says which
 * versions can go on after it: README.md, "A migration".
 */

import { MeshpassError } from '@meshpass/identity';
import { type Kysely, sql } from 'kysely';
import { type Migration, Migrator } from 'kysely/migration';
import { AUDIT_GUARDS, AUDIT_TABLES } from './audit-guards.ts';
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
  '001-sessions-and-audit': {
    async up(db) {
      await sql`
        create table sessions (
          id text primary key,
          token_hash text not null unique,
          jkt text not null,
          attestor text not null,
          issuer text not null,
          subject text not null,
          login text not null,
          workspace_key text not null,
          workspace_name text not null,
          attestation text not null,
          grants text not null,
          opened_at timestamptz not null,
          expires_at timestamptz not null,
          closed_at timestamptz,
          close_cause text
        )`.execute(db);
      // One live session a workspace, whatever the code above believes.
      await sql`create unique index sessions_live on sessions (workspace_key) where closed_at is null`.execute(db);
      await sql`
        create table session_principals (
          session_id text not null references sessions (id),
          grant_name text not null,
          namespace text not null,
          service_account text not null,
          spiffe_id text not null,
          last_not_after timestamptz,
          revoked_at timestamptz,
          primary key (session_id, grant_name)
        )`.execute(db);
      await sql`
        create index session_principals_revoked on session_principals (last_not_after)
        where revoked_at is not null`.execute(db);
      await sql`create table proof_replay (key text primary key, expires_at timestamptz not null)`.execute(db);
      await sql`create index proof_replay_expiry on proof_replay (expires_at)`.execute(db);
      await sql`
        create table audit (
          seq bigint primary key,
          previous text not null,
          hash text not null,
          id text not null unique,
          -- Hashed as it is exported, in milliseconds.
          time timestamptz not null check (time = date_trunc('milliseconds', time)),
          action text not null,
          outcome text not null check (outcome in ('allowed', 'refused', 'ended')),
          code text,
          reason text not null,
          subject text,
          login text,
          issuer text,
          session_id text,
          workspace text,
          grant_name text,
          rule text,
          target text,
          proof_hash text,
          source text,
          request_id text,
          detail text
        )`.execute(db);
      await sql`create index audit_session on audit (session_id) where session_id is not null`.execute(db);
      for (const statement of [...AUDIT_TABLES, ...AUDIT_GUARDS]) await sql.raw(statement).execute(db);
      await sql`create table broker_epoch (singleton boolean primary key check (singleton), epoch integer not null)`.execute(
        db,
      );
      await sql`insert into broker_epoch values (true, 0)`.execute(db);
      await sql.raw(WRITE_BATCH).execute(db);
    },
  },
  '002-holder': {
    async up(db) {
      await sql`alter table broker_epoch add column holder text`.execute(db);
    },
  },
  '003-lease-grace': {
    async up(db) {
      await sql`alter table sessions add column graced_until timestamptz`.execute(db);
    },
  },
  '004-access-versions': {
    async up(db) {
      await sql`
        create table access_versions (
          version bigint primary key,
          time timestamptz not null,
          applied_by text not null,
          reason text not null,
          plan text not null,
          main text not null,
          files text not null
        )`.execute(db);
      await sql.raw(WRITE_BATCH).execute(db);
    },
  },
  '005-revoke-cause': {
    async up(db) {
      await sql`alter table session_principals add column revoke_cause text`.execute(db);
      await sql.raw(WRITE_BATCH).execute(db);
    },
  },
  '006-losses': {
    async up(db) {
      await sql`create table losses (fact text primary key, learnt_at timestamptz not null)`.execute(db);
    },
  },
  '007-audit-restores': {
    async up(db) {
      await sql`
        create table audit_restores (epoch integer primary key, note text not null, time timestamptz not null)`.execute(
        db,
      );
      await sql`
        create trigger audit_restores_kept before update or delete or truncate on audit_restores
        for each statement execute function meshpass_append_only()`.execute(db);
    },
  },
  '008-configuration-versions': {
    async up(db) {
      await sql`
        create table configuration_versions (
          grants text primary key,
          digest text not null,
          version bigint not null
        )`.execute(db);
    },
  },
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
};
