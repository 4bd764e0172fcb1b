/** Remembers recent logouts at issuers, and operator sessions that ended early. */
import type { SignIn } from '@meshpass/identity';
import { type Selectable, sql } from 'kysely';
import { type Clock, uuidv7 } from '../../base/index.ts';
import type { VerifiedLogout } from '../../issuers/index.ts';
import type { Store, Tables } from '../../store/index.ts';

/** A logout that has been verified. */
export type Logout = Omit<VerifiedLogout, 'replay'>;

/** A user who is signed in at an issuer, including when they authenticated and when the ID token was issued. */
export type SignedInUser = Pick<SignIn, 'issuer' | 'subject' | 'sid' | 'authTime' | 'confirmedAt'>;

/**
 * Operator sessions that ended early: either specific sessions by id, or all sessions that a subject had opened by
 * then.
 */
export interface ClosedOperatorSessions {
  readonly sessions: readonly string[];
  readonly subject?: string | undefined;
}

/** The fields of an operator session that determine whether a logout or an early end applies to it. */
export interface Open {
  readonly id: string;
  readonly subject: string;
  /** When the session was opened, in Unix milliseconds. */
  readonly openedAt: number;
  /** The user who signed in. Absent for ServiceAccounts. */
  readonly signed?: SignedInUser | undefined;
}

/** Whether a logout affects a sign-in, because either the user or the session at the issuer matches. */
export function logoutMatchesSignIn(
  { issuer, subject, sid }: Logout,
  signed: Omit<SignedInUser, 'authTime' | 'confirmedAt'>,
): boolean {
  if (signed.issuer !== issuer) return false;
  if (sid !== undefined && signed.sid !== undefined) return sid === signed.sid;
  return subject !== undefined && subject === signed.subject;
}

/**
 * A bounded list of logouts and ended operator sessions. The broker uses it to reject ID tokens that were issued before
 * a logout but arrive after it, and to end operator sessions, which are not in the store. The next broker process
 * restores the list from the audit log.
 */
export type RecentLogouts = ReturnType<typeof createRecentLogouts>;

/** The end of one or more sessions, caused by a logout at the issuer or by an operator. */
interface End {
  /** When the broker learned that the sessions ended, in Unix milliseconds. */
  readonly since: number;
  readonly logout?: Logout;
  readonly closed?: ClosedOperatorSessions;
}

/** The logouts and early session ends that previous broker processes recorded. */
export interface StoredLogouts {
  /** The logouts and early ends, oldest first. */
  readonly ends: readonly End[];
  /** The time up to which entries may be missing, in Unix milliseconds. */
  readonly incompleteUntil: number;
}

/** The maximum number of entries. When the list is full, the oldest entries are dropped. */
export const MAX_RECENT_LOGOUTS = 20_000;
/** How long entries are kept, in seconds. This covers the longest operator session plus clock skew. */
const REMEMBERED_SECONDS = 12 * 3_600 + 120;

/**
 * Reads the logouts and early session ends that previous broker processes recorded.
 * @throws the database error if the store does not respond
 */
export async function readStoredLogouts({ db }: Pick<Store, 'db'>, clock: Clock): Promise<StoredLogouts> {
  const oldest = clock() - REMEMBERED_SECONDS * 1000;
  const rows = await db
    .selectFrom('audit')
    .select(['action', 'issuer', 'subject', 'time', 'detail'])
    // The log may be long, so this condition has to match the index audit_sign_outs.
    .where(
      sql<boolean>`action in ('sign_in.logout', 'operator.sign-out', 'audit.restore') and outcome in ('allowed', 'ended')`,
    )
    .where(
      'id',
      '>=',
      uuidv7(() => oldest, Buffer.alloc),
    )
    .orderBy('id', 'desc')
    .limit(MAX_RECENT_LOGOUTS)
    .execute();
  const ends: End[] = [];
  let incompleteUntil = rows.length === MAX_RECENT_LOGOUTS ? rows.at(-1)!.time.getTime() : 0;
  for (const row of rows.reverse()) {
    const end = endOf(row);
    if (end) ends.push(end);
    else incompleteUntil = row.time.getTime();
  }
  return { ends, incompleteUntil };
}

/**
 * Converts an audit row to the logout or early end that it records. Returns undefined if entries up to that row may be
 * missing from the log.
 */
function endOf({ action, issuer, subject, time, detail }: AuditRow): End | undefined {
  // A restored log lacks all rows that were written after the backup.
  const of = action === 'audit.restore' ? undefined : readDetail(detail);
  if (!of) return undefined;
  const since = time.getTime();
  if (action === 'operator.sign-out')
    return { since, closed: { sessions: of.closed ?? [], subject: of.closed_subject } };
  if (issuer === null) return { since };
  const { sid, signed_out_at: at = Math.floor(since / 1000) } = of;
  return { since, logout: { issuer, at, ...(subject !== null && { subject }), ...(sid !== undefined && { sid }) } };
}

type AuditRow = Selectable<Pick<Tables['audit'], 'action' | 'issuer' | 'subject' | 'time' | 'detail'>>;

interface Detail {
  readonly sid?: string;
  readonly signed_out_at?: number;
  readonly closed?: readonly string[];
  readonly closed_subject?: string;
}

/** Parses the details of a row. Returns undefined if they were truncated because they were too long. */
function readDetail(text: string | null): Detail | undefined {
  try {
    return JSON.parse(text ?? '{}') as Detail;
  } catch {
    return undefined;
  }
}

/** Creates the list of recent logouts. */
export function createRecentLogouts(clock: Clock, before: StoredLogouts = { ends: [], incompleteUntil: 0 }) {
  const ends = [...before.ends];
  let { incompleteUntil } = before;
  const prune = () => {
    const oldest = clock() - REMEMBERED_SECONDS * 1000;
    while (ends.length > 0 && (ends[0]!.since < oldest || ends.length > MAX_RECENT_LOGOUTS)) {
      const { since } = ends.shift()!;
      if (since >= oldest) incompleteUntil = Math.max(incompleteUntil, since);
    }
  };
  const isClosed = (id: string) => ends.some(({ closed }) => closed?.sessions.includes(id));
  return {
    remember: (logout: Logout) => {
      ends.push({ since: clock(), logout });
      prune();
    },
    /** Returns the most recent logout that affects this ID token. */
    find: (signed: SignedInUser) => {
      prune();
      return ends.findLast(({ logout }) => logout && logoutMatchesSignIn(logout, signed) && isBefore(signed, logout))
        ?.logout;
    },
    /**
     * Marks operator sessions as ended.
     * @returns whether the list has changed
     */
    close: ({ sessions, subject }: ClosedOperatorSessions) => {
      const missing = sessions.filter((id) => !isClosed(id));
      if (missing.length === 0 && subject === undefined) return false;
      ends.push({ since: clock(), closed: { sessions: missing, subject } });
      prune();
      return true;
    },
    /**
     * Returns whether the operator session has ended, either because the user has signed out since it began or because
     * it was closed. Also returns true if the session is older than an entry that was dropped because the list was
     * full.
     */
    isOver: ({ id, subject, openedAt, signed }: Open) => {
      prune();
      const ended = ends.findLast(
        ({ logout, closed }) =>
          closed?.subject === subject || (logout && signed && logoutMatchesSignIn(logout, signed)),
      );
      return isClosed(id) || openedAt <= Math.max(incompleteUntil, ended?.since ?? 0);
    },
    /** Returns the time up to which entries may be missing, in Unix milliseconds, or 0 if the list is complete. */
    incompleteUntil: () => incompleteUntil,
  };
}

/**
 * Whether an ID token fails to prove that the user signed in after the logout. Even a token that was issued after the
 * logout may come from a refresh token. In that case, it has the old session id or authentication time.
 */
function isBefore({ confirmedAt, authTime, sid }: SignedInUser, out: Logout): boolean {
  const isSame = sid !== undefined && sid === out.sid;
  return isSame || confirmedAt <= out.at || (authTime !== undefined && authTime <= out.at);
}
