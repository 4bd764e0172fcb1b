/**
 * Finds the principals that an operator can still deny after a session ended undenied (ended.ts). An attacker with the
 * session's keys may have closed the session in the same way as its agent.
 */
import type { Changes } from '../../../audit/index.ts';
import type { Clock } from '../../../base/index.ts';
import type { RevokedPrincipal } from '../../../mesh/index.ts';
import { type CloseCause, type Store, storeSilent } from '../../../store/index.ts';
import { DENY_PRINCIPALS } from '../../statements.ts';
import { stillRevoked } from '../restore.ts';
import type { Revocations } from '../revocations.ts';
import type { Denies } from './ended.ts';

export interface DenyLateContext {
  readonly store: Store;
  readonly denies: Denies;
  readonly revocations: Pick<Revocations, 'add'>;
  /** Lifetime of identity tokens, seconds. */
  readonly tokenSeconds: number;
  readonly clock: Clock;
}

/** Denial for a session that ended undenied. */
export interface LateDenial {
  /** Records the denial for the next broker. */
  readonly changes: Changes;
  /** Denies its principals in the mesh. Call it once the store has the changes. */
  readonly written: () => void;
}

/** Cause stored for principals that are denied late. */
const CAUSE: CloseCause = 'operator';

/**
 * Prepares the denial of an ended session.
 * @returns undefined if all its principals are denied by the mesh or no longer valid
 * @throws MeshpassError `store_unavailable`
 */
export async function denyLate(context: DenyLateContext, sessionId: string): Promise<LateDenial | undefined> {
  const late = await undeniedOf(context, sessionId);
  if (late.length === 0) return undefined;
  const rows = late.map(({ spiffeId }) => ({ session_id: sessionId, spiffe_id: spiffeId }));
  return {
    changes: (tx) => tx.write(DENY_PRINCIPALS, ...rows),
    written: () => context.revocations.add(late.map((one) => ({ ...one, undenied: !context.denies(CAUSE) }))),
  };
}

/**
 * Lists the principals of an ended session that the mesh does not deny and that may still be valid.
 * @throws MeshpassError `store_unavailable`
 */
async function undeniedOf(
  { store, denies, tokenSeconds, clock }: DenyLateContext,
  sessionId: string,
): Promise<readonly RevokedPrincipal[]> {
  try {
    const over = await stillRevoked(store, clock, tokenSeconds, denies, sessionId);
    return over.filter((one) => one.undenied);
  } catch (cause) {
    throw storeSilent(cause);
  }
}
