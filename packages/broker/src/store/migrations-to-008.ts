/** The migrations of before their names said which versions can go on after them: never edited. */
import { sql } from 'kysely';
import type { Migration } from 'kysely/migration';
import { AUDIT_GUARDS, AUDIT_TABLES } from './audit-guards.ts';
import { WRITE_BATCH } from './write-batch.ts';

export const MIGRATIONS_TO_008: Readonly<Record<string, Migration>> = {
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
};
