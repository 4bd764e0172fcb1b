/**
 * The last access file applied by plan, as read by this version of Meshpass. A different version may have applied it.
 */

import type { Access } from '@meshpass/access';
import { MeshpassError } from '@meshpass/identity';
import { pageUrl } from '@meshpass/identity/documentation/url';
import type { Kysely } from 'kysely';
import type { AppliedRow, Tables } from '../../store/index.ts';
import { parseFiles, toStoredFiles } from './history.ts';

/** @returns undefined if the file on disk is in control */
export async function readNewest(db: Kysely<Tables>): Promise<AppliedRow | undefined> {
  const newest = await db
    .selectFrom('access_versions')
    .select(['version', 'main', 'files', 'on_disk'])
    .orderBy('version', 'desc')
    .limit(1)
    .executeTakeFirst();
  return newest?.on_disk === true ? undefined : newest;
}

/**
 * Parses an applied file.
 * @throws MeshpassError `access_*`, with the version and the next step
 */
export function toAccess(row: AppliedRow): Access {
  try {
    return parseFiles(toStoredFiles(row));
  } catch (cause) {
    const code = cause instanceof MeshpassError ? cause.code : 'access_file_invalid';
    const message =
      `This version of Meshpass rejects the access file that was applied by plan as version ${row.version}: ` +
      `${String(cause instanceof Error ? cause.message : cause).replace(/\.$/, '')}. ` +
      `Start the version of Meshpass that applied it, apply a file that both versions accept, and then start this version (${pageUrl('docs/install/upgrade.md')}).`;
    throw new MeshpassError(code, message, { cause });
  }
}

/** Creates a checker that parses each row only once. */
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
