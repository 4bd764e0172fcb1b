/**
 * Finds the principals that an operator can still deny after a session ended undenied (ended.ts). An attacker with the
 * session's keys may have closed the session in the same way as its agent.
 */
import { type CloseCause, type Store, toStoreError } from '../../../store/index.ts';
import { DENY_PRINCIPALS } from '../../statements.ts';
import type { SessionContext } from '../context.ts';
import { listRevokedPrincipals } from '../restore.ts';
import type { Write } from '../settling.ts';

/** Cause stored for principals that are denied late. */
const CAUSE: CloseCause = 'operator';

/**
 * Prepares the denial of an ended session, for the next broker and in the mesh.
 * @returns undefined if all its principals are denied by the mesh or no longer valid
 * @throws MeshpassError `store_unavailable`
 */
export async function denyEndedSession(
  { store, denies, revocations, tokenSeconds, clock }: SessionContext & { readonly store: Store },
  sessionId: string,
): Promise<Write | undefined> {
  const over = await listRevokedPrincipals(store, clock, tokenSeconds, denies, sessionId).catch((cause: unknown) => {
    throw toStoreError(cause);
  });
  const late = over.filter(({ undenied }) => undenied);
  if (late.length === 0) return undefined;
  const rows = late.map(({ spiffeId }) => ({ session_id: sessionId, spiffe_id: spiffeId }));
  return {
    changes: (tx) => tx.write(DENY_PRINCIPALS, ...rows),
    written: () => revocations.add(late.map((one) => ({ ...one, undenied: !denies(CAUSE) }))),
  };
}
