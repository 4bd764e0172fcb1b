/**
 * Finds sessions that were opened after the backup from which the store was restored. The broker cannot deny sessions
 * that are missing from the store, and earlier denials would be lost. It therefore reads the principals from the mesh
 * for as long as any of their SVIDs may be valid.
 */

import { type Clock, type RetryOptions, retryWhileUnavailable, toUnixSeconds } from '../../../base/index.ts';
import { MAX_SVID_SECONDS, type RevokedPrincipal, type Revoker } from '../../../mesh/index.ts';
import type { Store } from '../../../store/index.ts';

/**
 * Lists the principals that exist in the mesh but not in the restored store.
 * @returns the principals of sessions that were lost in the declared restore, or an empty list if there was no recent
 *   restore
 * @throws AbortError if the signal aborts the wait
 */
export async function listLostSessionPrincipals(
  { db }: Pick<Store, 'db'>,
  revoker: Pick<Revoker, 'principals'>,
  clock: Clock,
  patience: RetryOptions,
): Promise<readonly RevokedPrincipal[]> {
  const last = await db
    .selectFrom('audit_restores')
    .select('time')
    .orderBy('epoch', 'desc')
    .limit(1)
    .executeTakeFirst();
  const until = last === undefined ? 0 : Math.ceil(last.time.getTime() / 1000) + MAX_SVID_SECONDS;
  if (until <= toUnixSeconds(clock)) return [];
  const rows = await db.selectFrom('session_principals').select('spiffe_id').execute();
  const known = new Set(rows.map((row) => row.spiffe_id));
  const found = await retryWhileUnavailable(() => revoker.principals(), patience);
  return found.filter(({ spiffeId }) => !known.has(spiffeId)).map((one) => ({ ...one, until }));
}
