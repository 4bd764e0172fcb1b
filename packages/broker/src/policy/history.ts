/** Access files that were applied, in the order of applying: what is in force after a restart, and what can be rolled back to. */
import type { Kysely } from 'kysely';
import { z } from 'zod';
import type { Tables } from '../store/tables.ts';

export const Files = z.record(z.string().min(1).max(255), z.string().max(1024 * 1024));
/** Text by path, as in `include`. */
export type Files = z.infer<typeof Files>;

export interface AccessVersion {
  readonly version: number;
  /** RFC 3339. */
  readonly time: string;
  readonly by: string;
  readonly reason: string;
  /** Id of the plan that it was applied by. */
  readonly plan: string;
}

export interface StoredFiles {
  readonly main: string;
  readonly files: Files;
}

const LISTED = 100;

/** The newest first. */
export async function listVersions(db: Kysely<Tables>): Promise<readonly AccessVersion[]> {
  const columns = ['version', 'time', 'applied_by', 'reason', 'plan'] as const;
  const rows = await db
    .selectFrom('access_versions')
    .select(columns)
    .orderBy('version', 'desc')
    .limit(LISTED)
    .execute();
  return rows.map(({ version, time, applied_by, reason, plan }) => ({
    ...{ version: Number(version), time: time.toISOString(), by: applied_by, reason, plan },
  }));
}

export async function readVersion(db: Kysely<Tables>, version: number): Promise<StoredFiles | undefined> {
  const row = await db
    .selectFrom('access_versions')
    .select(['main', 'files'])
    .where('version', '=', String(version))
    .executeTakeFirst();
  return row && toStoredFiles(row);
}

/** What a row of the table has: text by path as JSON text. */
export function toStoredFiles({ main, files }: { readonly main: string; readonly files: string }): StoredFiles {
  return { main, files: Files.parse(JSON.parse(files)) };
}
