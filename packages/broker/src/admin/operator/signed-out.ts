/** Ends operator sessions after a logout at the issuer (OpenID Connect Back-Channel Logout 1.0). */
import { type Attestation, MeshpassError } from '@meshpass/identity';
import { newEvent, type Origin } from '../../audit/index.ts';
import { seconds } from '../../base/index.ts';
import { isMeant, type RecentLogouts, type Signed } from '../../core/index.ts';
import { type SignedOut, sidOf } from '../../issuers/index.ts';
import type { OperatorSession } from './caller.ts';
import { type EndContext, endOperatorSessions } from './end-sessions.ts';
import { confirmedUntil } from './sessions.ts';

/**
 * Whether the person has signed out since the session began, or the session was closed.
 * @param session session in memory, or of a token
 */
export function isOver(
  recent: RecentLogouts,
  session: Pick<OperatorSession, 'id' | 'subject' | 'openedAt' | 'attestation'>,
): boolean {
  const { id, subject, openedAt, attestation } = session;
  return recent.isOver({ id, subject, openedAt, signed: attestation && signedBy(attestation) });
}

/**
 * Returns the state of a session: `ended` by its time, a logout or an operator; `unconfirmed` while the issuer's
 * confirmation of the person is overdue.
 */
export function stateOf(
  {
    clock,
    recentLogouts,
    confirmSeconds,
  }: Pick<EndContext, 'clock' | 'recentLogouts'> & { readonly confirmSeconds: () => number },
  session: OperatorSession,
): 'ended' | 'unconfirmed' | 'confirmed' {
  const now = seconds(clock);
  if (session.expiresAt <= now || isOver(recentLogouts, session)) return 'ended';
  return confirmedUntil(session, confirmSeconds()) <= now ? 'unconfirmed' : 'confirmed';
}

/**
 * Refuses a person who has signed out since the ID token was issued.
 * @throws MeshpassError `sign_in_ended`
 */
export function refuseSignedOut(recent: RecentLogouts, attestation: Attestation | undefined): void {
  if (!attestation) return;
  const signed = signedBy(attestation);
  if (recent.find(signed) || signed.confirmedAt * 1000 <= recent.incompleteUntil()) throw signedOut(attestation.issuer);
}

/** Builds the error for a person who has signed out. */
export function signedOut(issuer: string): MeshpassError {
  return new MeshpassError('sign_in_ended', `You have just signed out at ${issuer}. Sign in again.`);
}

/**
 * Ends the sessions in memory that a logout affects. The logout itself ends sessions that this broker has not seen.
 * @returns once the end is stored, or immediately if no session is affected
 */
export async function signOutOperators(context: EndContext, out: SignedOut, origin: Origin): Promise<void> {
  const concerned = context.sessions
    .all()
    .filter(({ attestation }) => attestation && isMeant(out, signedBy(attestation)));
  const [first] = concerned;
  if (!first) return;
  const { subject, login, issuer } = first;
  const event = newEvent('operator.sign-out', origin, context.clock, context.random);
  const reason = `${issuer} reports that the operator has signed out.`;
  const closed = { sessions: concerned.map(({ id }) => id).slice(0, MOST_NAMED) };
  await endOperatorSessions(context, closed, 'signed_out', { ...event, subject, login, issuer, reason });
}

/** Maximum sessions listed in a row. */
const MOST_NAMED = 100;

function signedBy({ issuer, subject, claims }: Attestation): Signed {
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
