/**
 * Creates the schema in an empty store, or applies numbered migrations to an existing one. A migration's name states
 * which older versions keep working after it; see README.md ("A migration") and decision 34.
 */

import { MeshpassError, pageUrl } from '@meshpass/identity';
import { type Kysely, sql } from 'kysely';
import { type Migration, Migrator } from 'kysely/migration';
import type { Tables } from './schema.ts';
import { SCHEMA } from './schema.ts';

/** Migrations by name. */
export type Migrations = Readonly<Record<string, Migration>>;

/**
 * All migrations, in order. Smaller numbers belong to unreleased versions. Never edit a migration that has been
 * released.
 */
export const MIGRATIONS: Migrations = {
  '022-schema': {
    async up(db) {
      for (const statement of SCHEMA) await sql.raw(statement).execute(db);
    },
  },
};

/**
 * Applies all missing migrations in a single transaction. Migrations of newer versions are ignored if they are
 * compatible with this one.
 * @throws MeshpassError `store_newer`, `store_older`, before anything is written; `store_unavailable`
 */
export async function migrate(db: Kysely<Tables>, migrations: Migrations = MIGRATIONS): Promise<void> {
  const newer = newerMigrations(await executedMigrations(db), Object.keys(migrations));
  const all = { ...migrations, ...Object.fromEntries(newer.map((name) => [name, NEWER])) };
  const migrator = new Migrator({ db, provider: { getMigrations: async () => all } });
  const { error } = await migrator.migrateToLatest();
  if (error) throw new MeshpassError('store_unavailable', 'Failed to migrate the store.', { cause: error });
}

/**
 * A placeholder for migrations of newer versions, because Kysely rejects a store that contains unknown migrations. The
 * store already records them as executed, so Kysely never runs the placeholder.
 */
const NEWER: Migration = {
  async up() {
    throw new Error('this version cannot run a migration from a newer version');
  },
};

async function executedMigrations(db: Kysely<Tables>): Promise<readonly string[]> {
  const table = await sql<{ exists: boolean }>`select to_regclass('kysely_migration') is not null as exists`.execute(
    db,
  );
  if (!table.rows[0]?.exists) return [];
  const { rows } = await sql<{ name: string }>`select name from kysely_migration order by name`.execute(db);
  return rows.map(({ name }) => name);
}

const NAME = /^(\d{3})-[a-z0-9-]+(?:\.compatible-with-(\d{3}))?$/;

/**
 * Parses a migration's name into its level and `compatibleWith`, the lowest broker level that keeps working after the
 * migration. This defaults to the migration's own level. A broker's level is that of its newest migration.
 * @returns undefined if the name does not have the format that Meshpass uses
 */
export function parseMigrationName(name: string) {
  const [, level, compatibleWith] = NAME.exec(name) ?? [];
  if (level === undefined) return undefined;
  return { level: Number(level), compatibleWith: Math.min(Number(level), Number(compatibleWith ?? level)) };
}

/**
 * Returns the migrations in the store that come from newer versions but are compatible with this one.
 * @param executed the names of all migrations in the store. Empty if the store is empty
 * @param known the names of this version's migrations, starting with the one that creates the schema
 * @throws MeshpassError `store_newer` if a newer migration excludes this version; `store_older` if the schema was
 *   created by a version that this version cannot migrate from
 */
export function newerMigrations(executed: readonly string[], known: readonly string[]): readonly string[] {
  const own = Math.max(...known.map((name) => parseMigrationName(name)?.level ?? 0));
  const newer = executed.filter((name) => !known.includes(name) && !(levelOf(name) <= own));
  const beyond = newer.find((name) => !((parseMigrationName(name)?.compatibleWith ?? Number.POSITIVE_INFINITY) <= own));
  if (beyond !== undefined)
    throw new MeshpassError(
      'store_newer',
      `A newer version migrated the store (${printable(beyond)}). This version supports only migrations up to ${own}. ` +
        'Start the newer version again, or restore a backup from before the upgrade and start this version.',
    );
  if (executed.length > 0 && !executed.includes(known[0]!))
    throw new MeshpassError(
      'store_older',
      `An earlier version created the store (latest migration: ${printable(executed.at(-1)!)}), and this version cannot upgrade it. ` +
        `Export the audit log with the earlier version, and save the access file that was applied by plan to disk. Then start this version with an empty store, as after the loss of a database (${pageUrl('docs/install/backup.md#the-database-is-lost')}).`,
    );
  return newer;
}

/**
 * Returns a migration's level. An unrecognized name counts as the newest, because only a newer version can have written
 * it.
 */
function levelOf(name: string): number {
  return parseMigrationName(name)?.level ?? Number.POSITIVE_INFINITY;
}

/** Sanitizes a name from the database so that it can be logged. */
function printable(name: string): string {
  return name.replace(/[^\w.-]/g, '?').slice(0, 100);
}
