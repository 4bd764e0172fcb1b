/**
 * The issuer confirms the person of a session, by an ID token that it has just given (OpenID Connect Core section 12). What it says now
 * replaces what it said before: a group that is lost takes its role with it.
 */
import { type Attestation, MeshpassError, operatorNonce } from '@meshpass/identity';
import { sha256Hex } from '@meshpass/identity/hash';
import { countsFrom, isFresh } from '../attest/oidc/freshness.ts';
import { granted, type Outcome, recordGrant, refused } from '../audit/log/decision.ts';
import type { AuditEvent } from '../audit/log/event.ts';
import { seconds, timestamp } from '../clock/clock.ts';
import { runExclusive } from '../limits/keyed-mutex.ts';
import { nameOf, ruleOf } from './caller.ts';
import { endForLostRole } from './end-sessions.ts';
import { attestPerson } from './person.ts';
import { callerOf, type OperatorSession, whyNoRole } from './sessions.ts';
import { nobody, type SignInContext } from './sign-in.ts';
import { endIfSignedOut, refuseSignedOut } from './signed-out.ts';

export interface Confirmation {
  readonly sessionId: string | undefined;
  readonly token: string;
  /** What the nonce of the ID token must be made of, where it has one: the session's key, or the secret of a browser's sign-in. */
  readonly binding?: string;
  readonly event: AuditEvent;
}

/**
 * @returns the session as it is from now on; refused with `proof_*`, `issuer_*`, `sign_in_stale`, `sign_in_rejected`, `sign_in_foreign`,
 *   `sign_in_ended`, `operator_no_role`, `operator_session_ended`, `operator_forbidden`, `store_unavailable`
 */
export async function confirmSignIn(context: SignInContext, asked: Confirmation): Promise<Outcome<OperatorSession>> {
  const event = { ...asked.event, proofHash: sha256Hex(asked.token) };
  return await runExclusive(context.confirming, asked.sessionId ?? '', async () => {
    try {
      const session = context.sessions.byId(asked.sessionId);
      if (!session) throw ended();
      return await confirm(context, session, asked, event);
    } catch (thrown) {
      return refused(event, thrown);
    }
  });
}

async function confirm(
  context: SignInContext,
  session: OperatorSession,
  { token, binding = session.jkt }: Confirmation,
  event: AuditEvent,
): Promise<Outcome<OperatorSession>> {
  const { audit, clock, recentLogouts, sessions } = context;
  const access = context.access();
  if (!context.proofs || !access.operators) throw nobody();
  const { attestation: before } = session;
  if (!before)
    throw new MeshpassError(
      'operator_forbidden',
      'The session of a ServiceAccount needs no confirmation: it ends with its token.',
    );
  const held = ruleOf(callerOf(session, access));
  // Opened with another client, for example: that is another sign-in, and no confirmation of this one.
  if (held === '') {
    endForLostRole(context, session);
    throw new MeshpassError('operator_session_ended', whyNoRole(session, access));
  }
  const person = await attestPerson(token, access, { keys: context.proofs.keys, clock });
  const { attestation: said, replay, given } = person;
  const now = seconds(clock);
  refuseOther(said, session, before, binding);
  const confirmedAt = Math.max(session.confirmedAt, countsFrom(given, now));
  refuseStale(said, before, given, confirmedAt + access.operators.confirm, now);
  const attestation = continued(before, said);
  refuseSignedOut(recentLogouts, attestation);
  const confirmed = { ...session, attestation, login: attestation.login, confirmedAt };
  const holds = ruleOf(callerOf(confirmed, access));
  if (holds === '') {
    endForLostRole(context, session, `${session.issuer} no longer says what the access file gives a role for.`);
    throw new MeshpassError(
      'operator_no_role',
      `What ${session.issuer} says of you now gives you no role any more: the session is over.`,
    );
  }
  const { id, login } = confirmed;
  const changes = {
    ...(replay && { replay }),
    operatorConfirmed: { id, login, confirmed_at: timestamp(confirmedAt), attestation: JSON.stringify(attestation) },
  };
  const reason = `${session.issuer} says something else of ${nameOf(confirmed)} than before.`;
  const known = { ...event, login, rule: holds, reason, detail: { ...event.detail, roles: holds, roles_before: held } };
  // What changes nothing leaves no row, as a renewed lease does.
  if (held === holds) await audit.journal.write({ ...changes, audit: [] });
  else {
    const written = await recordGrant(audit, known, changes);
    if (!written.granted) return written;
  }
  // While the store was writing.
  if (!sessions.confirm(confirmed)) throw ended();
  await endIfSignedOut(context, confirmed);
  return granted(known, confirmed);
}

function refuseOther(
  { subject, claims }: Attestation,
  session: OperatorSession,
  before: Attestation,
  binding: string,
): void {
  if (subject !== session.subject || claims.iss !== before.claims.iss)
    throw new MeshpassError(
      'sign_in_rejected',
      `You are signed in here as ${nameOf(session)}, and this ID token is of somebody else: sign out first (meshpass logout).`,
    );
  // A refreshed ID token need not have one; one that is there is of this session.
  if (claims.nonce !== undefined && claims.nonce !== operatorNonce(binding))
    throw new MeshpassError('sign_in_foreign', 'This ID token was made for another session (nonce).');
}

function refuseStale(
  { claims: { iat } }: Attestation,
  before: Attestation,
  given: number,
  until: number,
  now: number,
): void {
  const last = before.claims.iat;
  if (typeof iat !== 'number' || !isFresh(given, now) || until <= now)
    throw new MeshpassError('sign_in_stale', 'This ID token is too old to confirm a sign-in; get a new one.', {
      detail: { iat, now },
    });
  if (typeof last === 'number' && iat < last)
    throw new MeshpassError('sign_in_stale', 'This ID token is older than the one that confirmed the sign-in last.');
}

/**
 * A refreshed ID token need not say in which session of the issuer, and when, the person was authenticated: it is the one that began
 * (OpenID Connect Core section 12.2), by which a logout finds it.
 */
function continued(before: Attestation, now: Attestation): Attestation {
  const { sid, auth_time: since } = before.claims;
  const { auth_time: said } = now.claims;
  const times = [since, said].filter((one) => typeof one === 'number');
  return {
    ...now,
    claims: {
      ...now.claims,
      ...(now.claims.sid === undefined && sid !== undefined && { sid }),
      ...(times.length > 0 && { auth_time: Math.min(...times) }),
    },
  };
}

function ended(): MeshpassError {
  return new MeshpassError('operator_session_ended', 'The session of this operator is over; run meshpass login.');
}
