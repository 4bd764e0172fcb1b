/** Ends requests that were not answered in time or whose grant has ended, and marks reviews as overdue. */
import { seconds } from '../../base/index.ts';
import { principalUnder } from '../../core/index.ts';
import { isOverdue } from './emergency-limits.ts';
import type { Parts } from './parts.ts';
import { isOpen, isTaken } from './request.ts';

/**
 * Ends an expired request or marks its review as overdue.
 * @throws MeshpassError `store_unavailable`, `overloaded`
 */
export async function endPassed(parts: Parts, id: string): Promise<void> {
  await endOpen(parts, id);
  const request = parts.book.get(id);
  if (!request || !isTaken(request) || request.emergency.state !== 'open') return;
  if (!isOverdue(request, seconds(parts.clock))) return;
  const late = { ...request, emergency: { ...request.emergency, state: 'overdue' as const } };
  await parts.book.end(late, 'approval.overdue', 'The emergency was not reviewed in time.');
}

async function endOpen({ book, live, clock }: Parts, id: string): Promise<void> {
  const request = book.get(id);
  if (!request || !isOpen(request)) return;
  const now = seconds(clock);
  const session = live.byId(request.sessionId);
  if (request.state === 'pending') {
    if (session && request.answerBy > now) return;
    const reason = session ? 'The request was not answered in time.' : 'The requesting session has ended.';
    return await book.end({ ...request, state: 'expired' }, 'approval.expire', reason);
  }
  const held = session && principalUnder(session.session, request.grant);
  if (held && request.until! > now) return;
  const lost = request.until! > now ? 'The session has lost the grant.' : 'The approval has expired.';
  const reason = session ? lost : 'The session has ended.';
  await book.end({ ...request, state: 'ended' }, 'approval.end', reason);
}
