/**
 * Keeps operator sessions in memory. Browser sessions have to be kept, because the browser only has a random cookie.
 * CLI sessions are kept once this broker has seen them, so that they can be listed. Permissions are checked on every
 * request either way.
 */
import { type Access, formatPlace, type OperatorRoles, operatorRoles, serviceAccountRoles } from '@meshpass/access';
import { type Attestation, MeshpassError } from '@meshpass/identity';
import { type Clock, toUnixSeconds } from '../../base/index.ts';
import {
  type ClosedOperatorSessions,
  logoutMatchesSignIn,
  type RecentLogouts,
  type SignedInUser,
} from '../../core/index.ts';
import { sidOf, type VerifiedLogout } from '../../issuers/index.ts';
import type { AssignedRole, OperatorCaller, OperatorSession } from './caller.ts';

/** The operator sessions in memory. */
export type OperatorSessions = ReturnType<typeof createOperatorSessions>;

/** The maximum number of sessions to keep per person or ServiceAccount. */
export const MAX_SESSIONS_PER_SUBJECT = 10;
/** The maximum number of sessions to keep in memory. */
const MAX_OPERATOR_SESSIONS = 1_000;
/** How often, in seconds, the issuer has to confirm a person. */
export const CONFIRM_INTERVAL_SECONDS = 300;
/** Overrides `CONFIRM_INTERVAL_SECONDS`. Only for use in the lab. */
export const labOnlyConfirmSeconds: unique symbol = Symbol('labOnlyConfirmSeconds');

/**
 * Creates an in-memory collection of operator sessions.
 * @param recentLogouts remembers which sessions have ended, including those that this broker has not seen
 * @param confirmSeconds returns `CONFIRM_INTERVAL_SECONDS`, except in the lab
 */
export function createOperatorSessions(
  clock: Clock,
  recentLogouts: RecentLogouts,
  confirmSeconds = () => CONFIRM_INTERVAL_SECONDS,
) {
  const sessions = new Map<string, OperatorSession>();
  /** Maps the hash of a cookie to a session id. */
  const byHash = new Map<string, string>();
  const remove = (id: string) => {
    sessions.delete(id);
    for (const [hash, of] of byHash) if (of === id) byHash.delete(hash);
  };
  const all = () => {
    for (const { id, expiresAt } of sessions.values()) if (expiresAt <= toUnixSeconds(clock)) remove(id);
    return [...sessions.values()];
  };
  const oldestOf = (subject: string) => {
    const own = all().filter((one) => one.subject === subject);
    return own.length < MAX_SESSIONS_PER_SUBJECT ? undefined : own.reduce((a, b) => (b.openedAt < a.openedAt ? b : a));
  };
  const hasPlace = (subject: string) =>
    sessions.size < MAX_OPERATOR_SESSIONS || all().length < MAX_OPERATOR_SESSIONS || oldestOf(subject) !== undefined;
  /** Returns the copy of a session, either this one or the one in memory, that was confirmed by the later ID token. */
  const newest = (session: OperatorSession) => {
    const known = sessions.get(session.id);
    const issuedAt = ({ attestation }: OperatorSession) => Number(attestation?.claims.iat ?? 0);
    return known && issuedAt(known) > issuedAt(session) ? known : session;
  };
  const confirmedUntil = ({ kind, confirmedAt, expiresAt }: OperatorSession) =>
    kind === 'person' ? Math.min(expiresAt, confirmedAt + confirmSeconds()) : expiresAt;
  const isEnded = ({ id, subject, openedAt, attestation }: OperatorSession) =>
    recentLogouts.isOver({ id, subject, openedAt, signed: attestation && signedBy(attestation) });
  return {
    /**
     * Finds a session by its cookie.
     * @param hash the SHA-256 hash of the cookie, in hex
     */
    byCookie: (hash: string | undefined) => sessions.get(byHash.get(hash ?? '') ?? ''),
    newest,
    all,
    /** Whether there is room for another session of this subject. */
    hasPlace,
    /**
     * Adds a session, or updates it unless the copy in memory is newer. If the subject has reached its limit, its
     * oldest session is removed.
     * @param hash the SHA-256 hash of the cookie in hex, for a new browser session
     * @throws MeshpassError `sign_in_ended` if the session was closed or the person has signed out in the meantime
     */
    add: (session: OperatorSession, hash?: string) => {
      if (isEnded(session)) throw signInEndedError(session.issuer);
      const { id, subject } = session;
      if (newest(session) !== session) return;
      if (!sessions.has(id)) {
        if (!hasPlace(subject)) return;
        const oldest = oldestOf(subject);
        if (oldest) remove(oldest.id);
      }
      sessions.set(id, session);
      if (hash !== undefined) byHash.set(hash, id);
    },
    /**
     * Ends sessions, including those that this broker has not seen.
     * @returns whether any of them had not ended yet
     */
    end: (closed: ClosedOperatorSessions) => {
      for (const id of closed.sessions) remove(id);
      return recentLogouts.close(closed);
    },
    /** Returns the sessions in memory that a logout at an issuer affects. */
    affectedBy: (out: VerifiedLogout) =>
      all().filter(({ attestation }) => attestation && logoutMatchesSignIn(out, signedBy(attestation))),
    /**
     * Returns when the issuer's last confirmation expires, in Unix seconds. ServiceAccounts are verified only once,
     * when they sign in.
     */
    confirmedUntil,
    /**
     * Returns the state of a session: `ended` if it has expired or was ended by a logout or an operator, or
     * `unconfirmed` while the issuer's confirmation of the person is overdue.
     * @param session a session from memory or from an operator token
     */
    stateOf: (session: OperatorSession): 'ended' | 'unconfirmed' | 'confirmed' => {
      const now = toUnixSeconds(clock);
      if (session.expiresAt <= now || isEnded(session)) return 'ended';
      return confirmedUntil(session) <= now ? 'unconfirmed' : 'confirmed';
    },
    /**
     * Rejects a person who has signed out since the ID token was issued.
     * @throws MeshpassError `sign_in_ended`
     */
    refuseSignedOut: (attestation: Attestation) => {
      const signed = signedBy(attestation);
      if (recentLogouts.find(signed) || signed.confirmedAt * 1000 <= recentLogouts.incompleteUntil())
        throw signInEndedError(attestation.issuer);
    },
  };
}

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

function signInEndedError(issuer: string): MeshpassError {
  return new MeshpassError('sign_in_ended', `You have just signed out at ${issuer}. Sign in again.`);
}

/** Returns a session's caller, with any roles that this access file assigns to them. */
export function callerOf(session: OperatorSession, access: Access): OperatorCaller {
  const { kind, issuer, subject, login, attestation } = session;
  const { roles } = currentRoles(session, access);
  const held = roles.map(({ role, place }): AssignedRole => ({ role, place: formatPlace(place) }));
  return { kind, issuer, subject, login, attestation, session, roles: held };
}

/**
 * Returns the roles that an access file assigns to a session's operator, and the reasons why it does not assign more.
 */
export function currentRoles(
  { kind, subject, attestation }: Pick<OperatorSession, 'kind' | 'subject' | 'attestation'>,
  access: Access,
): OperatorRoles {
  if (kind === 'person') return attestation ? operatorRoles(attestation, access) : { roles: [], refusals: [] };
  const [, namespace = '', name = ''] = subject.split(':');
  return serviceAccountRoles(namespace, name, access);
}
