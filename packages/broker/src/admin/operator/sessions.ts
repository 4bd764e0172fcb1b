/**
 * Keeps operator sessions in memory. Browser sessions have to be kept, because the browser only has a random cookie.
 * CLI sessions are kept once this broker has seen them, so that they can be listed. Permissions are checked on every
 * request either way.
 */
import { type Access, formatPlace, type OperatorRoles, operatorRoles, serviceAccountRoles } from '@meshpass/access';
import { type Clock, toUnixSeconds } from '../../base/index.ts';
import type { AssignedRole, OperatorCaller, OperatorSession } from './caller.ts';

/** Why an operator session ended before it expired. */
export type OperatorCloseCause = 'logout' | 'operator' | 'role_lost' | 'signed_out';

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
 * @param confirmSeconds returns `CONFIRM_INTERVAL_SECONDS`, except in the lab
 */
export function createOperatorSessions(clock: Clock, confirmSeconds = () => CONFIRM_INTERVAL_SECONDS) {
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
  return {
    /**
     * Finds a session by its cookie.
     * @param hash the SHA-256 hash of the cookie, in hex
     */
    byCookie: (hash: string | undefined) => sessions.get(byHash.get(hash ?? '') ?? ''),
    byId: (id: string) => sessions.get(id),
    all,
    /** Whether there is room for another session of this subject. */
    hasPlace,
    /**
     * Adds a session, or updates it unless the copy in memory is newer. If the subject has reached its limit, its
     * oldest session is removed.
     * @param hash the SHA-256 hash of the cookie in hex, for a new browser session
     */
    add: (session: OperatorSession, hash?: string) => {
      const { id, subject } = session;
      const known = sessions.get(id);
      if (known && isConfirmedLater(known, session)) return;
      if (!known) {
        if (!hasPlace(subject)) return;
        const oldest = oldestOf(subject);
        if (oldest) remove(oldest.id);
      }
      sessions.set(id, session);
      if (hash !== undefined) byHash.set(hash, id);
    },
    remove,
    /**
     * Returns when the issuer's last confirmation expires, in Unix seconds. ServiceAccounts are verified only once,
     * when they sign in.
     */
    confirmedUntil: ({ kind, confirmedAt, expiresAt }: OperatorSession) =>
      kind === 'person' ? Math.min(expiresAt, confirmedAt + confirmSeconds()) : expiresAt,
  };
}

/** Whether the first copy of a session was confirmed by a later ID token than the second copy. */
export function isConfirmedLater(one: OperatorSession, other: OperatorSession): boolean {
  const issuedAt = ({ attestation }: OperatorSession) => Number(attestation?.claims.iat ?? 0);
  return issuedAt(one) > issuedAt(other);
}

/** Returns a session's caller, with any roles that this access file assigns to them. */
export function callerOf(session: OperatorSession, access: Access): OperatorCaller {
  const { kind, issuer, subject, login, attestation } = session;
  const { roles } = currentRoles(session, access);
  const held = roles.map(({ role, place }): AssignedRole => ({ role, place: formatPlace(place) }));
  return { kind, issuer, subject, login, attestation, session, roles: held };
}

/** Explains to an operator why `callerOf` did not return any roles. */
export function whyNoRole(session: OperatorSession, access: Access): string {
  return currentRoles(session, access).signInAgain
    ? `The access file no longer allows operators to sign in at ${session.issuer} with this session's client. Run meshpass login.`
    : 'The access file no longer grants you an operator role.';
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
