/** A session as the store has it when it opens; restore.ts reads it. */
import type { Attestation, EndedSignIn, SignIn } from '@meshpass/identity';
import { storable } from '../audit/log/event.ts';
import type { Entry } from '../audit/log/journal.ts';
import { timestamp } from '../clock/clock.ts';
import type { Principal, Session } from './session.ts';

export function sessionRow(session: Session): Record<string, string | null> {
  const { attestation } = session;
  return {
    id: session.id,
    token_hash: session.tokenHash,
    jkt: session.jkt,
    attestor: attestation.attestor,
    issuer: storable(attestation.issuer),
    subject: storable(attestation.subject),
    login: storable(attestation.login),
    workspace_key: storable(attestation.workspace.key),
    workspace_name: storable(attestation.workspace.name),
    attestation: JSON.stringify(withoutSignIns(attestation)),
    grants: JSON.stringify(session.grants),
    opened_at: timestamp(session.openedAt),
    expires_at: timestamp(session.expiresAt),
    closed_at: null,
    close_cause: null,
    graced_until: null,
    sign_ins: attestation.signIns ? signInsText(attestation) : null,
  };
}

/** They have a column of their own, which changes. */
function withoutSignIns({ signIns: _, endedSignIns: __, ...attestation }: Attestation): Attestation {
  return attestation;
}

/** The column of sign-ins: those that are there, and those that their provider has ended. */
export function signInsText({ signIns = [], endedSignIns = [] }: Pick<Attestation, SignInMembers>): string {
  return JSON.stringify([...signIns, ...endedSignIns]);
}

/** What `signInsText` wrote. */
export function readSignIns(text: string): Required<Pick<Attestation, SignInMembers>> {
  const all = JSON.parse(text) as readonly (SignIn | EndedSignIn)[];
  return {
    signIns: all.filter((one) => !('signedOutAt' in one)) as SignIn[],
    endedSignIns: all.filter((one) => 'signedOutAt' in one),
  };
}

type SignInMembers = 'signIns' | 'endedSignIns';

export function principalRows(session: Session): Record<string, string | null>[] {
  return session.principals.map((principal) => principalRow(session.id, principal));
}

export function principalRow(sessionId: string, principal: Principal): Record<string, string | null> {
  return {
    session_id: sessionId,
    grant_name: principal.grant,
    namespace: principal.namespace,
    service_account: principal.serviceAccount,
    spiffe_id: principal.spiffeId,
    last_not_after: null,
    revoked_at: null,
    revoke_cause: null,
  };
}

/** The grants of a live session and its end, as they are from now on. */
export function narrowedRow({ id, grants, expiresAt }: Session): NonNullable<Entry['narrowed']> {
  return { id, grants: JSON.stringify(grants), expires_at: timestamp(expiresAt) };
}

/** @param at as timestamp() writes it */
export function revokedRows(
  { id }: Session,
  principals: readonly Principal[],
  at: string,
  cause: string,
): NonNullable<Entry['revoked']> {
  return principals.map(({ grant, spiffeId }) => ({
    ...{ session_id: id, grant_name: grant, spiffe_id: spiffeId, revoked_at: at, revoke_cause: cause },
  }));
}
