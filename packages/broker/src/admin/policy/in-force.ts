/**
 * Text of the last access file on disk that came into force. A starting broker continues with it if the current file on
 * disk is refused (mesh/reconcile/former-access.ts).
 */
import type { Kysely } from 'kysely';
import { digestOfTexts, type KeptAccess } from '../../mesh/index.ts';
import type { InForceRow, Tables } from '../../store/index.ts';
import { parseFiles, toStoredFiles } from './history.ts';

/** Reads the stored file, or undefined if there is none. */
export async function readInForce(db: Kysely<Tables>): Promise<KeptAccess | undefined> {
  const row = await db.selectFrom('access_in_force').select(['digest', 'main', 'files']).executeTakeFirst();
  return row && toKept(row);
}

/** Parses a row. The file is undefined if its text does not match the digest, or if this version refuses it. */
function toKept({ digest, main, files }: InForceRow): KeptAccess {
  try {
    const stored = toStoredFiles({ main, files });
    return { digest, access: digestOfTexts(stored.files) === digest ? parseFiles(stored) : undefined };
  } catch {
    return { digest, access: undefined };
  }
}

/** Creates a reader that parses each row only once. */
export function createKeptReader(): (row: InForceRow) => KeptAccess {
  let last: { readonly row: InForceRow; readonly kept: KeptAccess } | undefined;
  return (row) => {
    if (last?.row !== row) last = { row, kept: toKept(row) };
    return last.kept;
  };
}
