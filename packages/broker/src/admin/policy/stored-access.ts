/**
 * Reads the access files in the store. The store has the history of the files applied by a plan, possibly by a
 * different version of Meshpass. The newest of them is in force after a restart, and operators can roll back to any of
 * them. It also has the last file on disk that came into force. A starting broker continues with that one if the
 * current file on disk is rejected (mesh/reconcile/mesh-state.ts).
 */
import { type Access, parseAccess } from '@meshpass/access';
import { MeshpassError, pageUrl } from '@meshpass/identity';
import type { Kysely } from 'kysely';
import { z } from 'zod';
import { type AccessTexts, digestTexts, type FormerAccessFile } from '../../mesh/index.ts';
import { type AppliedRow, type InForceRow, queryStore, type StoredAccess, type Tables } from '../../store/index.ts';

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
function toTexts({ main, files }: { readonly main: string; readonly files: string }): AccessTexts {
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

/**
 * Reads the newest version applied by a plan.
 * @returns undefined if the broker follows the file on disk
 */
export async function readNewestVersion(db: Kysely<Tables>): Promise<AppliedRow | undefined> {
  const newest = await db
    .selectFrom('access_versions')
    .select(['version', 'main', 'files', 'on_disk'])
    .orderBy('version', 'desc')
    .limit(1)
    .executeTakeFirst();
  return newest?.on_disk === true ? undefined : newest;
}

/**
 * Parses an access file applied by a plan.
 * @throws MeshpassError `access_*`, with a message that contains the version and explains how to proceed
 */
export function parseAppliedAccess(row: AppliedRow): Access {
  try {
    return parseFiles(toTexts(row));
  } catch (cause) {
    const code = cause instanceof MeshpassError ? cause.code : 'access_file_invalid';
    const message =
      `This version of Meshpass rejects the access file that was applied by plan as version ${row.version}: ` +
      `${String(cause instanceof Error ? cause.message : cause).replace(/\.$/, '')}. ` +
      `Start the version of Meshpass that applied it, apply a file that both versions accept, and then start this version (${pageUrl('docs/install/upgrade.md')}).`;
    throw new MeshpassError(code, message, { cause });
  }
}

function whyRefused(row: AppliedRow): string | undefined {
  try {
    parseAppliedAccess(row);
    return undefined;
  } catch (refused) {
    return (refused as MeshpassError).message;
  }
}

/** Reads the stored copy of the last file on disk that came into force. Returns undefined if there is none. */
export async function readStoredAccess(db: Kysely<Tables>): Promise<FormerAccessFile | undefined> {
  const row = await db.selectFrom('access_in_force').select(['digest', 'main', 'files']).executeTakeFirst();
  return row && toKept(row);
}

/**
 * Parses a stored file. The result is undefined if the text does not match the digest or this version of Meshpass
 * rejects the file.
 */
function toKept({ digest, main, files }: InForceRow): FormerAccessFile {
  try {
    const stored = toTexts({ main, files });
    return { digest, access: digestTexts(stored.files) === digest ? parseFiles(stored) : undefined };
  } catch {
    return { digest, access: undefined };
  }
}

/**
 * Creates a reader for waiting brokers that parses the stored files only when they change. It returns the file that was
 * in force, and the reason if this version of Meshpass rejects the applied file.
 */
export function createStoredAccessReader() {
  let last: { of: StoredAccess; refused: string | undefined; kept: FormerAccessFile | undefined } | undefined;
  return (of: StoredAccess) => {
    const { applied, inForce } = of;
    if (last?.of !== of) last = { of, refused: applied && whyRefused(applied), kept: inForce && toKept(inForce) };
    return last;
  };
}
