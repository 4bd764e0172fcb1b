/**
 * Confirms the person behind an operator session with a fresh ID token from the issuer (OpenID Connect Core section
 * 12). The claims of the fresh token replace the previous ones, so a person who has been removed from a group also
 * loses the role that depends on it. The CLI then receives a new operator token.
 */
import { type Attestation, MeshpassError, operatorNonce, sha256Hex } from '@meshpass/identity';
import { type AuditEvent, annotateEvent, type CollectChanges, recordAllowed } from '../../audit/index.ts';
import { toUnixSeconds } from '../../base/index.ts';
import { confirmationStart, isFresh, verifyOperatorIdToken } from '../../issuers/index.ts';
import { formatRoles, nameOf, type OperatorSession } from './caller.ts';
import { endSessionForLostRole, requireRole } from './end-sessions.ts';
import { callerOf } from './sessions.ts';
import { type OperatorSignInContext, operatorUnauthorizedError } from './sign-in.ts';

/** An ID token that confirms a session. */
export interface Confirmation {
  readonly session: OperatorSession;
  readonly token: string;
  /**
   * The value that the ID token's nonce must be derived from, if the token has a nonce. This is the binding of the
   * browser's sign-in. Defaults to the session's own binding, `jkt`.
   */
  readonly binding?: string;
  readonly event: AuditEvent;
}

/**
 * Confirms an operator's session.
 * @returns the confirmed session
 * @throws MeshpassError `proof_*`, `issuer_*`, `sign_in_stale`, `sign_in_rejected`, `sign_in_foreign`, `sign_in_ended`,
 *   `operator_no_role`, `operator_unauthorized`, `operator_session_ended`, `operator_forbidden`, `store_unavailable`,
 *   `overloaded`
 */
export async function confirmSignIn(
  context: OperatorSignInContext,
  { session: presented, token, binding = presented.jkt, event }: Confirmation,
): Promise<OperatorSession> {
  annotateEvent(event, { proofHash: sha256Hex(token) });
  const { audit, clock, operatorSessions } = context;
  const session = operatorSessions.newest(presented);
  const { attestation: before } = session;
  const access = context.access();
  if (!context.proofs || !access.operators || !before) throw operatorUnauthorizedError();
  // The operator may have no role, for example because the session was opened with another client. Accepting a new
  // token then would amount to a new sign-in rather than a confirmation.
  const held = formatRoles(requireRole(context, session, access));
  const person = await verifyOperatorIdToken(token, access, { keys: context.proofs.keys, clock });
  const { attestation: said, replay, given } = person;
  const now = toUnixSeconds(clock);
  refuseOther(said, session, binding);
  refuseStale(said, before, given, now);
  const attestation = continued(before, said);
  operatorSessions.refuseSignedOut(attestation);
  const confirmedAt = Math.max(session.confirmedAt, confirmationStart(given, now));
  const confirmed = { ...session, attestation, login: attestation.login, confirmedAt };
  const holds = formatRoles(callerOf(confirmed, access));
  if (holds === '') {
    endSessionForLostRole(
      context,
      session,
      `${session.issuer} no longer reports the claims that the access file requires for a role.`,
    );
    throw new MeshpassError(
      'operator_no_role',
      `The claims that ${session.issuer} now reports for you do not give you a role, so the session has ended.`,
    );
  }
  const { login } = confirmed;
  const changes: CollectChanges = (tx) => tx.once(replay);
  const reason = `${session.issuer} now reports different claims for ${nameOf(confirmed)}.`;
  annotateEvent(event, { login, rule: holds, reason, detail: { roles: holds, roles_before: held } });
  // A confirmation that does not change any roles is not audited, just like a lease renewal.
  if (held === holds) await audit.journal.transaction(changes);
  else await recordAllowed(audit, event, changes);
  // During the write, the session may have ended or another request may have confirmed it.
  operatorSessions.add(confirmed);
  return confirmed;
}

function refuseOther({ subject, claims }: Attestation, session: OperatorSession, binding: string): void {
  if (subject !== session.subject || claims.iss !== session.attestation?.claims.iss)
    throw new MeshpassError(
      'sign_in_rejected',
      `You are signed in as ${nameOf(session)}, but this ID token belongs to a different person. Sign out first (meshpass logout).`,
    );
  // The issuer may omit the nonce from a refreshed ID token. If the token has a nonce, it must belong to this session.
  if (claims.nonce !== undefined && claims.nonce !== operatorNonce(binding))
    throw new MeshpassError('sign_in_foreign', 'This ID token belongs to a different session (nonce).');
}

function refuseStale({ claims: { iat } }: Attestation, before: Attestation, given: number, now: number): void {
  const last = before.claims.iat;
  if (typeof iat !== 'number' || !isFresh(given, now))
    throw new MeshpassError('sign_in_stale', 'This ID token is too old to confirm a sign-in. Get a new one.', {
      detail: { iat, now },
    });
  if (typeof last === 'number' && iat < last)
    throw new MeshpassError('sign_in_stale', 'This ID token is older than the last one that confirmed the sign-in.');
}

/**
 * Keeps the issuer's session id and the authentication time if a refreshed ID token omits them. They remain valid
 * (OpenID Connect Core section 12.2), and a later logout needs them to find the session.
 */
function continued(before: Attestation, now: Attestation): Attestation {
  const { sid } = before.claims;
  const times = [before, now].map(({ claims }) => claims.auth_time).filter((one) => typeof one === 'number');
  const kept = { ...(sid !== undefined && { sid }), ...now.claims };
  return { ...now, claims: { ...kept, ...(times.length > 0 && { auth_time: Math.min(...times) }) } };
}
