/** The access file that was applied by plan last, as this version of Meshpass reads it: another version may have applied it. */
import type { Access } from '@meshpass/access';
import { MeshpassError } from '@meshpass/identity';
import type { Kysely } from 'kysely';
import type { AppliedRow } from '../store/leader-election.ts';
import type { Tables } from '../store/tables.ts';
import { read } from './change.ts';
import { toStoredFiles } from './history.ts';

export async function readNewest(db: Kysely<Tables>): Promise<AppliedRow | undefined> {
  return await db
    .selectFrom('access_versions')
    .select(['version', 'main', 'files'])
    .orderBy('version', 'desc')
    .limit(1)
    .executeTakeFirst();
}

/** @throws MeshpassError `access_*`; it names the version, and says what to do */
export function toAccess(row: AppliedRow): Access {
  try {
    return read(toStoredFiles(row));
  } catch (cause) {
    const code = cause instanceof MeshpassError ? cause.code : 'access_file_invalid';
    const message =
      `The access file that was applied by plan as version ${row.version} is refused by this version of Meshpass: ` +
      `${String(cause instanceof Error ? cause.message : cause).replace(/\.$/, '')}. ` +
      'Start the version of Meshpass that applied it, apply a file that both accept, and then start this one (docs/install/upgrade.md).';
    throw new MeshpassError(code, message, { cause });
  }
}

/** Each file is read once, however often it is asked about. */
export function createAppliedCheck(): (row: AppliedRow) => string | undefined {
  let checked: { readonly row: AppliedRow; readonly refused: string | undefined } | undefined;
  return (row) => {
    if (checked?.row !== row) checked = { row, refused: whyRefused(row) };
    return checked.refused;
  };
}

function whyRefused(row: AppliedRow): string | undefined {
  try {
    toAccess(row);
    return undefined;
  } catch (refused) {
    return (refused as MeshpassError).message;
  }
}
