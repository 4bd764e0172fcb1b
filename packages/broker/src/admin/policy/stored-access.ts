/**
 * Reads the access files in the store with this version of Meshpass. These are the last file applied by a plan,
 * possibly by a different version, and the last file on disk that came into force. A starting broker continues with the
 * latter if the current file on disk is rejected (mesh/reconcile/mesh-state.ts).
 */
import type { Access } from '@meshpass/access';
import { MeshpassError } from '@meshpass/identity';
import { pageUrl } from '@meshpass/identity/documentation/url';
import type { Kysely } from 'kysely';
import { digestTexts, type FormerAccessFile } from '../../mesh/index.ts';
import type { AppliedRow, InForceRow, StoredAccess, Tables } from '../../store/index.ts';
import { parseFiles, toTexts } from './history.ts';

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
