/** An issuer says that somebody has signed out there (OpenID Connect Back-Channel Logout 1.0): their sessions as operators are over. */
import { type Attestation, MeshpassError } from '@meshpass/identity';
import type { SignedOut } from '../attest/oidc/logout-token.ts';
import { sidOf } from '../attest/oidc/person.ts';
import { newEvent, type Origin } from '../audit/log/event.ts';
import { isMeant, type RecentLogouts, type Signed } from '../sign-in/recent-logouts.ts';
import { type EndContext, endOperatorSessions } from './end-sessions.ts';
import type { OperatorSession } from './sessions.ts';

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
  context: EndContext & { readonly recentLogouts: RecentLogouts },
  session: OperatorSession,
): Promise<void> {
  try {
    refuseSignedOut(context.recentLogouts, session.attestation);
  } catch (late) {
    await endSignedOut(context, [session], {});
    throw late;
  }
}

/**
 * Ends the sessions that a logout concerns: at once in memory, and for good in the store.
 * @returns once the store has it; at once where there is none
 */
export async function signOutOperators(context: EndContext, out: SignedOut, origin: Origin): Promise<void> {
  const concerned = context.sessions.all().filter((session) => {
    const signed = signedOf(session);
    return signed !== undefined && isMeant(out, signed);
  });
  await endSignedOut(context, concerned, origin);
}

async function endSignedOut(context: EndContext, ended: readonly OperatorSession[], origin: Origin): Promise<void> {
  const [first] = ended;
  if (!first) return;
  const { subject, login, issuer } = first;
  const event = newEvent('operator.sign-out', origin, context.clock, context.random);
  const reason = `${issuer} reports that they have signed out there.`;
  await endOperatorSessions(context, ended, 'signed_out', { ...event, subject, login, issuer, reason });
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
