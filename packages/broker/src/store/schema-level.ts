/**
 * How far a store has been migrated, and which brokers can go on with it, from the names of its migrations: they are all that a broker
 * knows of a version that is newer than itself. From 009 on each name ends with the oldest level that its change leaves working:
 * `009-labels.compatible-with-008`. README.md says how such a change is made; decision 34 says why the name.
 */
import { MeshpassError } from '@meshpass/identity';

export interface MigrationName {
  /** 1 for the first migration. The level of a broker is that of the newest migration that it has. */
  readonly level: number;
  /** A broker of this level or above goes on with the store after it; its own level where the name says nothing. */
  readonly compatibleWith: number;
}

const NAME = /^(\d{3})-[a-z0-9-]+(?:\.compatible-with-(\d{3}))?$/;

/** @returns undefined where it is no name of ours */
export function readMigrationName(name: string): MigrationName | undefined {
  const [, level, compatibleWith] = NAME.exec(name) ?? [];
  if (level === undefined) return undefined;
  return { level: Number(level), compatibleWith: Math.min(Number(level), Number(compatibleWith ?? level)) };
}

/**
 * Migrations of newer versions that are in the store, and that a broker need not know.
 * @param executed names of all migrations in the store
 * @param known names of the broker's own
 * @throws MeshpassError `store_newer` where one of them leaves this broker behind
 */
export function newerMigrations(executed: readonly string[], known: readonly string[]): readonly string[] {
  const own = Math.max(...known.map((name) => readMigrationName(name)?.level ?? 0));
  const newer = executed.filter((name) => !known.includes(name) && !(levelOf(name) <= own));
  const beyond = newer.find((name) => !((readMigrationName(name)?.compatibleWith ?? Number.POSITIVE_INFINITY) <= own));
  if (beyond === undefined) return newer;
  throw new MeshpassError(
    'store_newer',
    `A newer version has migrated the store (${printable(beyond)}), and this one cannot go on with it: it knows migrations up to ${own}. ` +
      'Start the newer version again, or restore a backup from before the upgrade with this one.',
  );
}

/** Above all others where it is no name of ours: only a version that is newer can have written it. */
function levelOf(name: string): number {
  return readMigrationName(name)?.level ?? Number.POSITIVE_INFINITY;
}

/** It comes from the database. */
function printable(name: string): string {
  return name.replace(/[^\w.-]/g, '?').slice(0, 100);
}
