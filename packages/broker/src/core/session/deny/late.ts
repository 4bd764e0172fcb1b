/**
 * Lets an operator deny the principals of a session that ended without being denied (see ended.ts). Even if a session
 * appears to have been closed by its agent, it may have been closed by an attacker who has the session's keys.
 */
import { type CloseCause, queryStore } from '../../../store/index.ts';
import { DENY_PRINCIPALS } from '../../statements.ts';
import type { SessionContext } from '../context.ts';
import { listRevokedPrincipals } from '../restore.ts';
import type { Write } from '../write-queue.ts';

/** The cause that is stored for principals that are denied after their session ended. */
const CAUSE: CloseCause = 'operator';

/**
 * Prepares the denial of an ended session, both in the mesh and in the store (for the next broker process).
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
