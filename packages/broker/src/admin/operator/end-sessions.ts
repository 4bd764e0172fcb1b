/**
 * Ends operator sessions. A session first ends in memory, so this broker rejects it immediately. As soon as the store
 * is available, the end is also written to the audit log, where the next broker can find it. Sessions also end when the
 * issuer reports a logout (OpenID Connect Back-Channel Logout 1.0).
 */
import { type Attestation, MeshpassError } from '@meshpass/identity';
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
import { toUnixSeconds } from '../../base/index.ts';
import {
  type ClosedOperatorSessions,
  logoutMatchesSignIn,
  type RecentLogouts,
  type SignedInUser,
} from '../../core/index.ts';
import { sidOf, type VerifiedLogout } from '../../issuers/index.ts';
import type { RecordContext } from '../policy/record.ts';
import { nameOf, type OperatorCaller, type OperatorSession } from './caller.ts';
import type { OperatorCloseCause, OperatorSessions } from './sessions.ts';

export interface EndSessionsContext extends RecordContext {
  readonly operatorSessions: OperatorSessions;
  readonly recentLogouts: RecentLogouts;
}

type EndEvent = AuditEvent & { readonly reason: string };

/**
 * Ends sessions for a reason other than a caller's request, such as a logout at the issuer. Does nothing if they have
 * already ended.
 * @param event the audit event, including its reason
 * @returns a promise that resolves when the end has been stored. The write is retried until it succeeds
 */
async function endOperatorSessions(
  context: EndSessionsContext,
  closed: ClosedOperatorSessions,
  cause: OperatorCloseCause,
  event: EndEvent,
): Promise<void> {
  if (end(context, closed)) await recordEnd(context, closed, cause, event);
}

/**
 * Ends the session of an operator who no longer has a role. The end enters the journal before any rows that the calling
 * function writes afterwards.
 */
export function endSessionForLostRole(
  context: EndSessionsContext,
  { id, subject, login, issuer }: OperatorSession,
  reason = 'The access file no longer grants a role.',
): void {
  const event = createAuditEvent('operator.sign-out', {}, context.clock, context.random);
  const ended = { ...event, subject, login, issuer, reason };
  void endOperatorSessions(context, { sessions: [id] }, 'role_lost', ended);
}

/**
 * Ends sessions at a caller's request. If the store fails, this throws even though the sessions have already ended in
 * memory. In that case, the write is retried in the background until it succeeds.
 * @param reason the reason to record in the audit log
 * @throws MeshpassError `store_unavailable`, `overloaded`
 */
export async function closeOperatorSessions(
  context: EndSessionsContext & { readonly audit: AuditContext },
  closed: ClosedOperatorSessions,
  cause: OperatorCloseCause,
  event: AuditEvent,
  reason: string,
): Promise<void> {
  const { audit, clock, random } = context;
  end(context, closed);
  annotateEvent(event, { reason, detail: detailOf(closed) });
  try {
    await recordAllowed(audit, event);
  } catch (thrown) {
    // Write a separate row, because the request's own row records its refusal.
    const own = { ...event, ...createAuditEvent(event.action, event, clock, random), reason };
    void recordEnd(context, closed, cause, own);
    throw thrown;
  }
}

/**
 * Signs an operator out.
 * @throws MeshpassError `store_unavailable`, `overloaded`
 */
export async function signOut(
  context: EndSessionsContext & { readonly audit: AuditContext },
  caller: OperatorCaller,
  event: AuditEvent,
): Promise<void> {
  const own = { sessions: caller.session ? [caller.session.id] : [] };
  await closeOperatorSessions(context, own, 'logout', event, `${nameOf(caller)} signed out.`);
}

function end({ operatorSessions, recentLogouts }: EndSessionsContext, closed: ClosedOperatorSessions): boolean {
  for (const id of closed.sessions) operatorSessions.remove(id);
  return recentLogouts.close(closed);
}

async function recordEnd(
  context: EndSessionsContext,
  closed: ClosedOperatorSessions,
  cause: OperatorCloseCause,
  event: EndEvent,
) {
  const detail = { ...event.detail, cause, ...detailOf(closed) };
  const row = auditRow({ ...event, detail }, 'ended', event.reason, undefined, context.clock());
  await retryUntilStored(context, (tx) => tx.audit(row));
}

/**
 * Returns the details that the next broker needs in order to reject these sessions (core/sign-in/recent-logouts.ts).
 */
function detailOf({ sessions, subject }: ClosedOperatorSessions) {
  return { closed: sessions, ...(subject !== undefined && { closed_subject: subject }) };
}

/**
 * Whether the session was closed, or the person has signed out since it was opened.
 * @param session a session from memory or from an operator token
 */
export function isOperatorSessionEnded(
  recent: RecentLogouts,
  session: Pick<OperatorSession, 'id' | 'subject' | 'openedAt' | 'attestation'>,
): boolean {
  const { id, subject, openedAt, attestation } = session;
  return recent.isOver({ id, subject, openedAt, signed: attestation && signedBy(attestation) });
}

/**
 * Returns the state of a session: `ended` if it has expired or was ended by a logout or an operator, or `unconfirmed`
 * while the issuer's confirmation of the person is overdue.
 */
export function stateOf(
  { clock, recentLogouts, operatorSessions }: Pick<EndSessionsContext, 'clock' | 'recentLogouts' | 'operatorSessions'>,
  session: OperatorSession,
): 'ended' | 'unconfirmed' | 'confirmed' {
  const now = toUnixSeconds(clock);
  if (session.expiresAt <= now || isOperatorSessionEnded(recentLogouts, session)) return 'ended';
  return operatorSessions.confirmedUntil(session) <= now ? 'unconfirmed' : 'confirmed';
}

/**
 * Rejects a person who has signed out since the ID token was issued.
 * @throws MeshpassError `sign_in_ended`
 */
export function requireNotSignedOut(recent: RecentLogouts, attestation: Attestation | undefined): void {
  if (!attestation) return;
  const signed = signedBy(attestation);
  if (recent.find(signed) || signed.confirmedAt * 1000 <= recent.incompleteUntil())
    throw signInEndedError(attestation.issuer);
}

/** Creates the error for a person who has signed out. */
export function signInEndedError(issuer: string): MeshpassError {
  return new MeshpassError('sign_in_ended', `You have just signed out at ${issuer}. Sign in again.`);
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
  const concerned = context.operatorSessions
    .all()
    .filter(({ attestation }) => attestation && logoutMatchesSignIn(out, signedBy(attestation)));
  const [first] = concerned;
  if (!first) return;
  const { subject, login, issuer } = first;
  const event = createAuditEvent('operator.sign-out', origin, context.clock, context.random);
  const reason = `${issuer} reports that the operator has signed out.`;
  const closed = { sessions: concerned.map(({ id }) => id).slice(0, MOST_NAMED) };
  await endOperatorSessions(context, closed, 'signed_out', { ...event, subject, login, issuer, reason });
}

/** The maximum number of sessions to list in a single audit row. */
const MOST_NAMED = 100;

function signedBy({ issuer, subject, claims }: Attestation): SignedInUser {
  const sid = sidOf(claims);
  const { iat, auth_time: authTime } = claims;
  return {
    issuer,
    subject,
    confirmedAt: typeof iat === 'number' ? iat : 0,
    ...(sid !== undefined && { sid }),
    ...(typeof authTime === 'number' && { authTime }),
  };
}
