/**
 * Stores the history of applied access files. The history determines which file is in force after a restart, and
 * operators can roll back to any version in it.
 */
import { type Access, parseAccess } from '@meshpass/access';
import { MeshpassError } from '@meshpass/identity';
import type { Kysely } from 'kysely';
import { z } from 'zod';
import type { AccessTexts } from '../../mesh/index.ts';
import { queryStore, type Tables } from '../../store/index.ts';

/** Maps each file's path, as used in `include`, to its text. */
export const PolicyFiles = z.record(z.string().min(1).max(255), z.string().max(1024 * 1024));

const LISTED = 100;

/**
 * Lists the versions, newest first, along with the id of the plan that applied each.
 * @throws MeshpassError `store_unavailable`
 */
export async function listVersions(db: Kysely<Tables>) {
  const columns = ['version', 'time', 'applied_by', 'reason', 'plan'] as const;
  const newest = db.selectFrom('access_versions').select(columns).orderBy('version', 'desc').limit(LISTED);
  const rows = await queryStore(newest.execute());
  return rows.map(({ version, time, applied_by, reason, plan }) => ({
    version: Number(version),
    time: time.toISOString(),
    by: applied_by,
    reason,
    plan,
  }));
}

/**
 * Reads the files of a version. Returns undefined if the version does not exist.
 * @throws MeshpassError `store_unavailable`
 */
export async function readVersion(db: Kysely<Tables>, version: number): Promise<AccessTexts | undefined> {
  const found = db.selectFrom('access_versions').select(['main', 'files']).where('version', '=', String(version));
  const row = await queryStore(found.executeTakeFirst());
  return row && toTexts(row);
}

/**
 * Finds the newest run of this repository that has applied a file, even if that file has since been rolled back.
 * @throws MeshpassError `store_unavailable`
 */
export async function findNewestRun(db: Kysely<Tables>, of: string): Promise<number | undefined> {
  const newest = db.selectFrom('access_versions').select(({ fn }) => fn.max('run').as('run'));
  const row = await queryStore(newest.where('run_of', '=', of).executeTakeFirst());
  return row?.run == null ? undefined : Number(row.run);
}

/** Extracts a version's files from its table row, which stores them as JSON. */
export function toTexts({ main, files }: { readonly main: string; readonly files: string }): AccessTexts {
  return { main, files: PolicyFiles.parse(JSON.parse(files)) };
}

/**
 * Parses access files from a caller or from the store.
 * @throws MeshpassError `access_*`, `request_malformed`
 */
export function parseFiles({ main, files }: AccessTexts): Access {
  const text = Object.hasOwn(files, main) ? files[main]! : undefined;
  if (text === undefined) throw new MeshpassError('request_malformed', `The files do not include ${main}.`);
  return parseAccess(text, main, {
    include: (path) => (Object.hasOwn(files, path) ? { text: files[path]! } : { problem: 'does not exist' }),
  });
}
