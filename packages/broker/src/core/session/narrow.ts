/** Removes or shortens grants of live sessions. Grants are added in widen.ts. */
import { auditRow, createAuditEvent } from '../../audit/index.ts';
import { timestamp, toUnixSeconds } from '../../base/index.ts';
import type { CloseCause } from '../../store/index.ts';
import { REVOKE_PRINCIPALS, SET_LIMITS } from '../statements.ts';
import type { SessionContext } from './context.ts';
import { undeniedDetail } from './deny/ended.ts';
import { closeSession, replacePrincipals, revokedPrincipals, workspaceKey } from './lifecycle.ts';
import { type Live, sessionMembers } from './live.ts';
import { limitRows, revokedRows } from './rows.ts';

/**
 * Removes or shortens grants of a live session, and closes the session if no grants are left. Memory, the edges and the
 * mesh's queue are updated before the first await.
 *
 * @param ends when each grant that the session keeps ends, in Unix seconds. A time that is later than the grant's
 *   current end has no effect.
 * @param why the cause of the change, and its reason as it appears in the audit log
 * @returns a promise that resolves once the change has been stored
 */
export async function narrowSession(
  context: SessionContext,
  live: Live,
  ends: ReadonlyMap<string, number>,
  { cause, reason }: { readonly cause: CloseCause; readonly reason: string },
): Promise<void> {
  const { session } = live;
  if (live.ended) return;
  const lost = session.principals.filter(({ grant }) => !ends.has(grant));
  const kept = session.principals.flatMap((one) => {
    const end = ends.get(one.grant);
    return end === undefined ? [] : [end < one.until ? { ...one, until: end } : one];
  });
  const shorter = kept.filter((one) => !session.principals.includes(one));
  if (lost.length === 0 && shorter.length === 0) return;
  const names = lost.map(({ grant }) => grant);
  if (kept.length === 0) return await closeSession(context, live, { cause, detail: { lost: names, reason } });

  const revoked = revokedPrincipals(live, context.denies(cause), (grant) => !ends.has(grant));
  replacePrincipals(context, live, kept);
  context.revocations.add(revoked);

  const at = timestamp(toUnixSeconds(context.clock));
  const gained = lost.filter((one) => one.gained);
  const event = {
    ...createAuditEvent('session.narrow', {}, context.clock, context.random),
    ...sessionMembers(session),
    grant: [...names, ...shorter.map(({ grant }) => grant)].join(','),
    detail: {
      cause,
      lost: names,
      shorter: shorter.map(({ grant, until }) => ({ name: grant, until })),
      // If a lost grant was gained after the session opened, also record why it was gained.
      ...(gained.length > 0 && { gained: Object.fromEntries(gained.map((one) => [one.grant, one.gained!.cause])) }),
      ...undeniedDetail(revoked),
    },
  };
  const because = lost.length > 0 ? reason : 'The access file has shortened the grant.';
  const row = auditRow(event, 'ended', because, undefined, context.clock());
  await context.settling.cut(workspaceKey(live), (tx) => {
    tx.write(REVOKE_PRINCIPALS, ...revokedRows(session, lost, at, cause));
    tx.write(SET_LIMITS, ...limitRows(session, shorter));
    tx.audit(row);
  });
}
