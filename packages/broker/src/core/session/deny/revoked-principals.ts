/**
 * Lists the principals whose access has ended, from what the store and the mesh have of them, and lets an operator deny
 * those that ended without being denied (see ended.ts).
 */
import { type RetryOptions, retryWhileUnavailable, toUnixSeconds } from '../../../base/index.ts';
import { MAX_SVID_SECONDS, type RevokedPrincipal } from '../../../mesh/index.ts';
import { type CloseCause, queryStore, type Store } from '../../../store/index.ts';
import { DENY_PRINCIPALS } from '../../session-sql.ts';
import type { SessionContext } from '../context.ts';
import type { Write } from '../write-queue.ts';

/** The part of the context that exists before the sessions are restored. */
export type RestoreContext = Pick<SessionContext, 'store' | 'clock' | 'config' | 'denies'>;

/**
 * Lists the principals whose access has ended but whose SVID or identity token may still be valid. The tokens of an
 * ended session are rejected until they expire.
 * @param sessionId limits the list to the principals of this session
 */
export async function listRevokedPrincipals(
  { store, clock, config: { tokenSeconds }, denies }: RestoreContext,
  sessionId?: string,
): Promise<RevokedPrincipal[]> {
  const rows = await store.db
    .selectFrom('session_principals as p')
    .innerJoin('sessions as s', 's.id', 'p.session_id')
    .select(['p.namespace', 'p.service_account', 'p.spiffe_id', 'p.last_not_after', 'p.revoke_cause'])
    .select(['s.id', 's.closed_at', 's.close_cause'])
    .where((eb) => eb.or([eb('p.revoked_at', 'is not', null), eb('s.closed_at', 'is not', null)]))
    .where('p.last_not_after', 'is not', null)
    .where((eb) =>
      eb.or([
        eb('p.last_not_after', '>', new Date(clock())),
        eb('s.closed_at', '>', new Date(clock() - tokenSeconds * 1000)),
      ]),
    )
    .$if(sessionId !== undefined, (query) => query.where('s.id', '=', sessionId!))
    .execute();
  return rows.map((row) => ({
    namespace: row.namespace,
    serviceAccount: row.service_account,
    spiffeId: row.spiffe_id,
    until: Math.max(
      toUnixSeconds(row.last_not_after!),
      row.closed_at ? toUnixSeconds(row.closed_at) + tokenSeconds : 0,
    ),
    ...(row.closed_at && { sessionId: row.id }),
    undenied: !denies(row.revoke_cause ?? row.close_cause ?? undefined),
  }));
}

/** The cause that is stored for principals that are denied after their session ended. */
const CAUSE: CloseCause = 'operator';

/**
 * Prepares the denial of an ended session, both in the mesh and in the store (for the next broker process). Even if a
 * session appears to have been closed by its agent, it may have been closed by an attacker who has the session's keys.
 * @returns undefined if the mesh already denies all of the session's principals, or if they are no longer valid
 * @throws MeshpassError `store_unavailable`
 */
export async function denyEndedSession(context: SessionContext, sessionId: string): Promise<Write | undefined> {
  const { denies, revocations } = context;
  const over = await queryStore(listRevokedPrincipals(context, sessionId));
  const late = over.filter(({ undenied }) => undenied);
  if (late.length === 0) return undefined;
  const rows = late.map(({ spiffeId }) => ({ session_id: sessionId, spiffe_id: spiffeId }));
  return {
    changes: (tx) => tx.write(DENY_PRINCIPALS, ...rows),
    written: () => revocations.add(late.map((one) => ({ ...one, undenied: !denies(CAUSE) }))),
  };
}

/**
 * Lists the principals that exist in the mesh but not in the restored store, because their sessions were opened after
 * the backup. The broker cannot deny sessions that are missing from the store, and earlier denials would be lost. It
 * therefore reads the principals from the mesh for as long as any of their SVIDs may be valid.
 * @returns the principals of sessions that were lost in the declared restore, or an empty list if there was no recent
 *   restore
 * @throws AbortError if the signal aborts the wait
 */
export async function listLostSessionPrincipals(
  { db }: Pick<Store, 'db'>,
  revoker: Pick<SessionContext['revoker'], 'principals'>,
  clock: SessionContext['clock'],
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
