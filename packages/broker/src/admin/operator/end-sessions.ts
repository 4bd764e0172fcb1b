/**
 * Ends operator sessions: immediately in memory, so that this broker refuses them, and in the audit log as soon as the
 * store responds, so that the next broker can read the end.
 */
import {
  type AuditContext,
  type AuditEvent,
  auditRow,
  newEvent,
  type Outcome,
  recordGrant,
  untilStored,
} from '../../audit/index.ts';
import type { Closed, RecentLogouts } from '../../core/index.ts';
import type { RecordContext } from '../policy/record.ts';
import { nameOf, type OperatorCaller, type OperatorSession } from './caller.ts';
import type { OperatorCloseCause, OperatorSessions } from './sessions.ts';

export interface EndContext extends RecordContext {
  readonly sessions: OperatorSessions;
  readonly recentLogouts: RecentLogouts;
}

type EndEvent = AuditEvent & { readonly reason: string };

/**
 * Ends sessions when no caller is waiting. Does nothing if they have already ended.
 * @param event event, including its reason
 * @returns once the end is stored; the write is retried until then
 */
export async function endOperatorSessions(
  context: EndContext,
  closed: Closed,
  cause: OperatorCloseCause,
  event: EndEvent,
): Promise<void> {
  if (end(context, closed)) await recordEnd(context, closed, cause, event);
}

/** Ends the session of an operator who has no role left. The journal receives the end before any row of the caller. */
export function endForLostRole(
  context: EndContext,
  { id, subject, login, issuer }: OperatorSession,
  reason = 'The access file no longer grants a role.',
): void {
  const event = newEvent('operator.sign-out', {}, context.clock, context.random);
  const ended = { ...event, subject, login, issuer, reason };
  void endOperatorSessions(context, { sessions: [id] }, 'role_lost', ended);
}

/**
 * Ends sessions at a caller's request. If the store fails, the request is refused although the sessions are already
 * refused in memory. The write is therefore retried until it succeeds.
 * @param event event, including its reason
 * @returns a refusal with `store_unavailable` or `overloaded`
 */
export async function closeOperatorSessions(
  context: EndContext & { readonly audit: AuditContext },
  closed: Closed,
  cause: OperatorCloseCause,
  event: EndEvent,
): Promise<Outcome<void>> {
  const { audit, clock, random } = context;
  end(context, closed);
  const written = await recordGrant(audit, { ...event, detail: { ...event.detail, ...detailOf(closed) } });
  // A separate row, because the request's own row records its refusal.
  if (!written.granted)
    void recordEnd(context, closed, cause, { ...event, ...newEvent(event.action, event, clock, random) });
  return written;
}

/**
 * Signs an operator out.
 * @returns a refusal with `store_unavailable` or `overloaded`
 */
export async function signOut(
  context: EndContext & { readonly audit: AuditContext },
  caller: OperatorCaller,
  event: AuditEvent,
): Promise<Outcome<void>> {
  const own = { sessions: caller.session ? [caller.session.id] : [] };
  return await closeOperatorSessions(context, own, 'logout', { ...event, reason: `${nameOf(caller)} signed out.` });
}

function end({ sessions, recentLogouts }: EndContext, closed: Closed): boolean {
  for (const id of closed.sessions) sessions.remove(id);
  return recentLogouts.close(closed);
}

async function recordEnd(context: EndContext, closed: Closed, cause: OperatorCloseCause, event: EndEvent) {
  const detail = { ...event.detail, cause, ...detailOf(closed) };
  const row = auditRow({ ...event, detail }, 'ended', event.reason, undefined, context.clock());
  await untilStored(context, (tx) => tx.audit(row));
}

/** Returns the details that the next broker needs to refuse the sessions (core/sign-in/recent-logouts.ts). */
function detailOf({ sessions, subject }: Closed) {
  return { closed: sessions, ...(subject !== undefined && { closed_subject: subject }) };
}
