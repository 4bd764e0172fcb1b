/**
 * Ends operator sessions. A session first ends in memory, so this broker rejects it immediately. As soon as the store
 * is available, the end is also written to the audit log, where the next broker can find it. Sessions also end when the
 * issuer reports a logout (OpenID Connect Back-Channel Logout 1.0).
 */
import type { Access } from '@meshpass/access';
import { MeshpassError } from '@meshpass/identity';
import {
  type AuditContext,
  type AuditEvent,
  annotateEvent,
  auditRow,
  createAuditEvent,
  type Origin,
  recordAllowed,
  retryUntilStored,
} from '../../audit/index.ts';
import type { Clock, Random } from '../../base/index.ts';
import type { ClosedOperatorSessions } from '../../core/index.ts';
import type { VerifiedLogout } from '../../issuers/index.ts';
import { nameOf, type OperatorCaller, type OperatorSession } from './caller.ts';
import { callerOf, currentRoles, type OperatorSessions } from './sessions.ts';

export interface EndSessionsContext {
  readonly audit: AuditContext;
  readonly clock: Clock;
  readonly random: Random;
  readonly operatorSessions: OperatorSessions;
  /** Called whenever the store fails. The write is then retried. */
  readonly onFailure: (cause: unknown) => void;
}

/** The end of operator sessions before they expired. */
interface Ending extends ClosedOperatorSessions {
  readonly cause: 'logout' | 'operator' | 'role_lost' | 'signed_out';
  /** The reason to record in the audit log. */
  readonly reason: string;
}

/** The maximum number of sessions to list in a single audit row. */
const MOST_NAMED = 100;

/**
 * Ends sessions for a reason other than a caller's request, such as a logout at the issuer. Does nothing if they have
 * already ended.
 * @param session one of the sessions, whose operator the audit row identifies
 * @returns a promise that resolves when the end has been stored. The write is retried until it succeeds
 */
async function endOperatorSessions(
  context: EndSessionsContext,
  ending: Ending,
  session: OperatorSession,
  origin: Origin = {},
): Promise<void> {
  if (!context.operatorSessions.end(ending)) return;
  const { subject, login, issuer } = session;
  const event = createAuditEvent('operator.sign-out', origin, context.clock, context.random);
  await recordEnd(context, ending, { ...event, subject, login, issuer });
}

/**
 * Ends the session of an operator who no longer has a role. The end enters the journal before any rows that the calling
 * function writes afterwards.
 */
export function endSessionForLostRole(
  context: EndSessionsContext,
  session: OperatorSession,
  reason = 'The access file no longer grants a role.',
): void {
  void endOperatorSessions(context, { sessions: [session.id], cause: 'role_lost', reason }, session);
}

/**
 * Returns a session's operator with their current roles. If they no longer have one, the session ends.
 * @throws MeshpassError `operator_session_ended`
 */
export function requireRole(context: EndSessionsContext, session: OperatorSession, access: Access): OperatorCaller {
  const caller = callerOf(session, access);
  if (caller.roles.length > 0) return caller;
  endSessionForLostRole(context, session);
  throw new MeshpassError(
    'operator_session_ended',
    currentRoles(session, access).signInAgain
      ? `The access file no longer allows operators to sign in at ${session.issuer} with this session's client. Run meshpass login.`
      : 'The access file no longer grants you an operator role.',
  );
}

/**
 * Ends sessions at a caller's request. If the store fails, this throws even though the sessions have already ended in
 * memory. In that case, the write is retried in the background until it succeeds.
 * @throws MeshpassError `store_unavailable`, `overloaded`
 */
export async function closeOperatorSessions(
  context: EndSessionsContext,
  ending: Ending,
  event: AuditEvent,
): Promise<void> {
  const { audit, clock, random, operatorSessions } = context;
  operatorSessions.end(ending);
  annotateEvent(event, { reason: ending.reason, detail: detailOf(ending) });
  try {
    await recordAllowed(audit, event);
  } catch (thrown) {
    // Write a separate row, because the request's own row records its refusal.
    void recordEnd(context, ending, { ...event, ...createAuditEvent(event.action, event, clock, random) });
    throw thrown;
  }
}

/**
 * Signs an operator out.
 * @throws MeshpassError `store_unavailable`, `overloaded`
 */
export async function signOut(context: EndSessionsContext, caller: OperatorCaller, event: AuditEvent): Promise<void> {
  const sessions = caller.session ? [caller.session.id] : [];
  const reason = `${nameOf(caller)} signed out.`;
  await closeOperatorSessions(context, { sessions, cause: 'logout', reason }, event);
}

/**
 * Ends the in-memory sessions affected by a logout. Sessions that this broker has not seen yet are rejected when they
 * arrive, because logouts are remembered.
 * @returns a promise that resolves when the end has been stored, or immediately if no session is affected
 */
export async function signOutOperators(
  context: EndSessionsContext,
  out: VerifiedLogout,
  origin: Origin,
): Promise<void> {
  const concerned = context.operatorSessions.affectedBy(out);
  const [first] = concerned;
  if (!first) return;
  const sessions = concerned.map(({ id }) => id).slice(0, MOST_NAMED);
  const reason = `${first.issuer} reports that the operator has signed out.`;
  await endOperatorSessions(context, { sessions, cause: 'signed_out', reason }, first, origin);
}

async function recordEnd({ audit, clock, onFailure }: EndSessionsContext, ending: Ending, event: AuditEvent) {
  const detail = { ...event.detail, cause: ending.cause, ...detailOf(ending) };
  const row = auditRow({ ...event, detail }, 'ended', ending.reason, undefined, clock());
  await retryUntilStored({ journal: audit.journal, onFailure }, (tx) => tx.audit(row));
}

/**
 * Returns the details that the next broker needs in order to reject these sessions (core/sign-in/recent-logouts.ts).
 */
function detailOf({ sessions, subject }: ClosedOperatorSessions) {
  return { closed: sessions, ...(subject !== undefined && { closed_subject: subject }) };
}
