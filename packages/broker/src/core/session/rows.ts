/** Converts sessions to database rows. restore.ts reads them back. */
import type { Attestation, EndedSignIn, SignIn } from '@meshpass/identity';
import type { Insertable } from 'kysely';
import { timestamp } from '../../base/index.ts';
import { type Tables, toStorableText } from '../../store/index.ts';
import type { Principal, Session } from './session.ts';

/** Returns the database row for a newly opened session. */
export function sessionRow(session: Session): Insertable<Tables['sessions']> {
  const { attestation } = session;
  // Sign-ins have a column of their own, because they change during a session.
  const { signIns: _, endedSignIns: __, ...rest } = attestation;
  return {
    id: session.id,
    token_hash: session.tokenHash,
    jkt: session.jkt,
    issuer: toStorableText(attestation.issuer),
    subject: toStorableText(attestation.subject),
    login: toStorableText(attestation.login),
    workspace_key: toStorableText(attestation.workspace.key),
    attestation: JSON.stringify(rest),
    opened_at: timestamp(session.openedAt),
    closed_at: null,
    close_cause: null,
    graced_until: null,
    sign_ins: attestation.signIns ? serializeSignIns(attestation) : null,
  };
}

/**
 * Serializes the value of the sign-ins column, which contains current sign-ins as well as those that the identity
 * provider has ended.
 */
export function serializeSignIns({ signIns = [], endedSignIns = [] }: Pick<Attestation, SignInMembers>): string {
  return JSON.stringify([...signIns, ...endedSignIns]);
}

/** Parses the sign-ins column, as written by `serializeSignIns`. */
export function parseSignIns(text: string): Required<Pick<Attestation, SignInMembers>> {
  const all = JSON.parse(text) as readonly (SignIn | EndedSignIn)[];
  return {
    signIns: all.filter((one) => !('signedOutAt' in one)) as SignIn[],
    endedSignIns: all.filter((one) => 'signedOutAt' in one),
  };
}

type SignInMembers = 'signIns' | 'endedSignIns';

/** Returns the database row for a principal. */
export function principalRow(sessionId: string, principal: Principal): Insertable<Tables['session_principals']> {
  return {
    session_id: sessionId,
    grant_name: principal.grant,
    namespace: principal.namespace,
    service_account: principal.serviceAccount,
    spiffe_id: principal.spiffeId,
    ...limits(principal),
    last_not_after: null,
    revoked_at: null,
    revoke_cause: null,
  };
}

/** Returns the rows that update the time limits of stored principals. */
export function limitRows({ id }: Session, principals: readonly Principal[]) {
  return principals.map((principal) => ({ session_id: id, spiffe_id: principal.spiffeId, ...limits(principal) }));
}

function limits({ until, gained }: Principal) {
  return { until: timestamp(until), gained: gained ? JSON.stringify(gained) : null };
}

/**
 * Returns the rows that mark principals as revoked.
 * @param at the time of the revocation, as formatted by timestamp()
 */
export function revokedRows({ id }: Session, principals: readonly Principal[], at: string, cause: string) {
  return principals.map(({ grant, spiffeId }) => ({
    session_id: id,
    grant_name: grant,
    spiffe_id: spiffeId,
    revoked_at: at,
    revoke_cause: cause,
  }));
}
