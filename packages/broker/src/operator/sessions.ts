/**
 * Sessions of operators: opened by an exchange, bound to a key, over after an hour or less. They are in the store, so that a broker that
 * takes over has them, and in memory, so that a request needs no query. What one may do is decided at each request.
 */
import { type Access, formatPlace, type OperatorRoles, operatorRoles, serviceAccountRoles } from '@meshpass/access';
import type { Attestation } from '@meshpass/identity';
import { sha256Hex } from '@meshpass/identity/hash';
import type { Clock, Random } from '../clock/clock.ts';
import { seconds, timestamp, uuidv7 } from '../clock/clock.ts';
import type { Store } from '../store/open.ts';
import type { HeldRole, OperatorCaller } from './caller.ts';

export interface OperatorSession {
  readonly id: string;
  readonly tokenHash: string;
  readonly jkt: string;
  readonly kind: 'person' | 'service-account';
  readonly issuer: string;
  readonly subject: string;
  readonly login: string;
  /** Of a person. */
  readonly attestation?: Attestation;
  readonly source?: string | undefined;
  /** Unix seconds. */
  readonly openedAt: number;
  readonly expiresAt: number;
  /** When the issuer last confirmed the person. */
  readonly confirmedAt: number;
}

/** Why a session of an operator ended before its time. */
export type OperatorCloseCause = 'logout' | 'operator' | 'replaced' | 'role_lost' | 'signed_out';

export interface OperatorSessions {
  /** @param hash of the token, hex */
  readonly byToken: (hash: string) => OperatorSession | undefined;
  readonly byId: (id: string | undefined) => OperatorSession | undefined;
  readonly all: () => readonly OperatorSession[];
  /** After it is in the store. */
  readonly add: (session: OperatorSession) => void;
  /** From here on nobody gets in by it. @returns whether it was there */
  readonly remove: (id: string) => boolean;
  /** After it is in the store. @returns whether the session is still there */
  readonly confirm: (session: OperatorSession) => boolean;
}

/** Of one person or ServiceAccount; the oldest ends when one more opens. */
export const MAX_PER_SUBJECT = 10;
/** Of all. */
export const MAX_OPERATOR_SESSIONS = 1_000;

/** Reads what the broker before has left. @throws MeshpassError `store_unavailable` */
export async function openOperatorSessions(store: Store, clock: Clock): Promise<OperatorSessions> {
  const now = timestamp(seconds(clock));
  // A day is long enough to look at one that is over; the audit log has it for good.
  await store.db
    .deleteFrom('operator_sessions')
    .where('expires_at', '<', new Date((seconds(clock) - 86_400) * 1000))
    .execute();
  const rows = await store.db
    .selectFrom('operator_sessions')
    .selectAll()
    .where('closed_at', 'is', null)
    .where('expires_at', '>', new Date(now))
    .execute();
  const sessions = new Map<string, OperatorSession>();
  for (const { closed_at: _, close_cause: __, ...stored } of rows) {
    const { token_hash, attestation, source, opened_at, expires_at, confirmed_at, ...row } = stored;
    sessions.set(token_hash, {
      ...row,
      ...(attestation !== null && { attestation: JSON.parse(attestation) as Attestation }),
      ...(source !== null && { source }),
      tokenHash: token_hash,
      openedAt: Math.floor(opened_at.getTime() / 1000),
      expiresAt: Math.floor(expires_at.getTime() / 1000),
      confirmedAt: Math.floor((confirmed_at ?? opened_at).getTime() / 1000),
    });
  }
  const forgetExpired = () => {
    for (const [hash, { expiresAt }] of sessions) if (expiresAt <= seconds(clock)) sessions.delete(hash);
  };
  return {
    byToken: (hash) => sessions.get(hash),
    byId: (id) => {
      forgetExpired();
      return [...sessions.values()].find((session) => session.id === id);
    },
    all: () => {
      forgetExpired();
      return [...sessions.values()];
    },
    add: (session) => sessions.set(session.tokenHash, session),
    remove: (id) => {
      for (const [hash, session] of sessions) if (session.id === id) return sessions.delete(hash);
      return false;
    },
    confirm: (session) => {
      if (!sessions.has(session.tokenHash)) return false;
      sessions.set(session.tokenHash, session);
      return true;
    },
  };
}

/** @returns the session, and its token, which is in no other place */
export function newOperatorSession(
  of: Omit<OperatorSession, 'id' | 'tokenHash' | 'openedAt' | 'expiresAt'>,
  life: number,
  clock: Clock,
  random: Random,
): { readonly session: OperatorSession; readonly token: string } {
  const token = `mpo_${random(32).toString('base64url')}`;
  const openedAt = seconds(clock);
  const id = uuidv7(clock, random);
  return { session: { ...of, id, tokenHash: sha256Hex(token), openedAt, expiresAt: openedAt + life }, token };
}

/** As the journal takes it. */
export function operatorSessionRow(session: OperatorSession) {
  const { tokenHash, attestation, source, openedAt, expiresAt, confirmedAt, ...row } = session;
  return {
    ...row,
    token_hash: tokenHash,
    attestation: attestation ? JSON.stringify(attestation) : null,
    source: source ?? null,
    opened_at: timestamp(openedAt),
    expires_at: timestamp(expiresAt),
    confirmed_at: timestamp(confirmedAt),
    closed_at: null,
    close_cause: null,
  };
}

/** Until when what the issuer last said of its person counts, Unix seconds. Of a ServiceAccount it was said once. */
export function confirmedUntil(
  { kind, confirmedAt, expiresAt }: Pick<OperatorSession, 'kind' | 'confirmedAt' | 'expiresAt'>,
  { operators }: Pick<Access, 'operators'>,
): number {
  return kind === 'person' ? Math.min(expiresAt, confirmedAt + (operators?.confirm ?? 0)) : expiresAt;
}

/** Whether its issuer must confirm its person before it counts again. @param now Unix seconds */
export function isUnconfirmed(session: OperatorSession, access: Access, now: number): boolean {
  return confirmedUntil(session, access) <= now;
}

/** What it may do under this access file: nothing where that no longer names it. */
export function callerOf(session: OperatorSession, access: Access): OperatorCaller {
  const { id, kind, issuer, subject, login, attestation } = session;
  const { roles } = rolesNow(session, access);
  return {
    ...{ kind, issuer, subject, login, sessionId: id },
    ...(attestation && { attestation }),
    roles: roles.map(({ role, place }): HeldRole => ({ role, place: formatPlace(place) })),
  };
}

/** What somebody is told whom the access file gives no role, where `callerOf` has none. */
export function whyNoRole(session: OperatorSession, access: Access): string {
  return rolesNow(session, access).signInAgain
    ? `The access file no longer has operators sign in at ${session.issuer} with the client of this session: run meshpass login.`
    : 'The access file gives you no role as an operator any more.';
}

function rolesNow({ kind, subject, attestation }: OperatorSession, access: Access): OperatorRoles {
  if (kind === 'person') return attestation ? operatorRoles(attestation, access) : { roles: [], refusals: [] };
  const [, namespace = '', name = ''] = subject.split(':');
  return serviceAccountRoles(namespace, name, access);
}
