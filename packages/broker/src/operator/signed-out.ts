/** An issuer says that somebody has signed out there (OpenID Connect Back-Channel Logout 1.0): their sessions as operators are over. */
import { type Attestation, MeshpassError } from '@meshpass/identity';
import type { SignedOut } from '../attest/oidc/logout-token.ts';
import { sidOf } from '../attest/oidc/person.ts';
import { auditRow, newEvent, type Origin } from '../audit/log/event.ts';
import { type Clock, type Random, seconds, timestamp } from '../clock/clock.ts';
import { type LifecycleContext, untilStored } from '../session/lifecycle.ts';
import { isMeant, type RecentLogouts, type Signed } from '../sign-in/recent-logouts.ts';
import type { OperatorSession, OperatorSessions } from './sessions.ts';

export interface SignedOutContext extends Pick<LifecycleContext, 'journal' | 'onFailure'> {
  readonly sessions: OperatorSessions;
  readonly clock: Clock;
  readonly random: Random;
}

/** Whom an issuer can name by a logout; undefined: no issuer of people. */
export function signedOf({ attestation }: Pick<OperatorSession, 'attestation'>): Signed | undefined {
  return attestation && signedBy(attestation);
}

/** @throws MeshpassError `sign_in_ended` where the person has signed out since their ID token was made */
export function refuseSignedOut(recent: RecentLogouts, attestation: Attestation | undefined): void {
  if (!attestation || !recent.find(signedBy(attestation))) return;
  throw new MeshpassError('sign_in_ended', `You have just signed out at ${attestation.issuer}; sign in again.`);
}

/**
 * For a session that has just been written: ends it where its person signed out while the store was writing.
 * @throws MeshpassError `sign_in_ended`
 */
export async function endIfSignedOut(
  context: {
    readonly recentLogouts: RecentLogouts;
    readonly endSignedOut: (session: OperatorSession) => Promise<void>;
  },
  session: OperatorSession,
): Promise<void> {
  try {
    refuseSignedOut(context.recentLogouts, session.attestation);
  } catch (late) {
    await context.endSignedOut(session);
    throw late;
  }
}

/**
 * Ends the sessions that a logout concerns: at once in memory, and for good in the store.
 * @returns once the store has it; at once where there is none
 */
export async function signOutOperators(context: SignedOutContext, out: SignedOut, origin: Origin): Promise<void> {
  const concerned = context.sessions.all().filter((session) => {
    const signed = signedOf(session);
    return signed !== undefined && isMeant(out, signed);
  });
  await endSignedOut(context, concerned, origin);
}

/** Ends sessions of people who have signed out at their issuer. @returns once the store has it */
export async function endSignedOut(
  context: SignedOutContext,
  ended: readonly OperatorSession[],
  origin: Origin,
): Promise<void> {
  const [first] = ended;
  if (!first) return;
  const { sessions, clock, random } = context;
  for (const { id } of ended) sessions.remove(id);
  const event = {
    ...newEvent('operator.sign-out', origin, clock, random),
    ...{ subject: first.subject, login: first.login, issuer: first.issuer },
    detail: { cause: 'signed_out', closed: ended.map(({ id }) => id) },
  };
  const reason = `${first.issuer} reports that they have signed out there.`;
  const closed_at = timestamp(seconds(clock));
  await untilStored(context, {
    operatorsClosed: ended.map(({ id }) => ({ id, closed_at, close_cause: 'signed_out' })),
    audit: [auditRow(event, 'ended', reason, undefined, clock())],
  });
}

function signedBy({ issuer, subject, claims }: Attestation): Signed {
  const sid = sidOf(claims);
  const { iat, auth_time: authTime } = claims;
  return {
    ...{ issuer, subject, confirmedAt: typeof iat === 'number' ? iat : 0 },
    ...(sid !== undefined && { sid }),
    ...(typeof authTime === 'number' && { authTime }),
  };
}
