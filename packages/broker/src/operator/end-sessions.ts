/**
 * Ends of operators' sessions: at once in memory, so that nobody gets in by them here, and in the store as soon as it answers, so that
 * nobody does at the broker that takes over.
 */
import { type AuditContext, type Outcome, recordGrant } from '../audit/log/decision.ts';
import { type AuditEvent, auditRow, newEvent } from '../audit/log/event.ts';
import { type Clock, type Random, seconds, timestamp } from '../clock/clock.ts';
import { type LifecycleContext, untilStored } from '../session/lifecycle.ts';
import type { OperatorCloseCause, OperatorSession, OperatorSessions } from './sessions.ts';

export interface EndContext extends Pick<LifecycleContext, 'journal' | 'onFailure'> {
  readonly sessions: OperatorSessions;
  readonly clock: Clock;
  readonly random: Random;
}

/**
 * For what nobody waits for an answer to.
 * @param event with its reason
 * @returns once the store has it, which is asked until then
 */
export async function endOperatorSessions(
  context: EndContext,
  ended: readonly OperatorSession[],
  cause: OperatorCloseCause,
  event: AuditEvent & { readonly reason: string },
): Promise<void> {
  if (ended.length === 0) return;
  const { clock } = context;
  for (const { id } of ended) context.sessions.remove(id);
  const detail = { ...event.detail, cause, closed: ended.map(({ id }) => id).slice(0, MOST_NAMED) };
  await untilStored(context, {
    operatorsClosed: closedRows(ended, cause, clock),
    audit: [auditRow({ ...event, detail }, 'ended', event.reason, undefined, clock())],
  });
}

/** Ends the session of somebody who has no role any more. Its end is in the journal before any row of who calls this. */
export function endForLostRole(
  context: EndContext,
  session: OperatorSession,
  reason = 'The access file gives no role any more.',
): void {
  if (!context.sessions.remove(session.id)) return;
  const { subject, login, issuer } = session;
  const event = newEvent('operator.sign-out', {}, context.clock, context.random);
  void endOperatorSessions(context, [session], 'role_lost', { ...event, subject, login, issuer, reason });
}

/**
 * Ends sessions because somebody asks for it. Where the store fails they are told so, and cannot ask again, because nobody is signed
 * in by these any more: the store is asked until it has it.
 * @param event with its reason
 * @returns refused with `store_unavailable`, `overloaded`
 */
export async function closeOperatorSessions(
  context: EndContext & { readonly audit: AuditContext },
  selected: readonly OperatorSession[],
  cause: OperatorCloseCause,
  event: AuditEvent & { readonly reason: string },
): Promise<Outcome<void>> {
  const { audit, sessions, clock, random } = context;
  for (const { id } of selected) sessions.remove(id);
  const detail = { ...event.detail, closed: selected.map(({ id }) => id).slice(0, MOST_NAMED) };
  const written = await recordGrant(
    audit,
    { ...event, detail },
    { operatorsClosed: closedRows(selected, cause, clock) },
  );
  // A row of its own: that of the request says that it was refused.
  if (!written.granted)
    void endOperatorSessions(context, selected, cause, { ...event, ...newEvent(event.action, event, clock, random) });
  return written;
}

/** Sessions that a row names. */
const MOST_NAMED = 100;

function closedRows(ended: readonly OperatorSession[], cause: OperatorCloseCause, clock: Clock) {
  const closed_at = timestamp(seconds(clock));
  return ended.map(({ id }) => ({ id, closed_at, close_cause: cause }));
}
