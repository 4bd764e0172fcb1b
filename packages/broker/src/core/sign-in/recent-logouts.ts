/** Remembers logouts at issuers and ended operator sessions. */
import type { SignIn } from '@meshpass/identity';
import { type Selectable, sql } from 'kysely';
import { type Clock, uuidv7 } from '../../base/index.ts';
import type { VerifiedLogout } from '../../issuers/index.ts';
import type { Store, Tables } from '../../store/index.ts';

/** Verified logout. */
export type Logout = Omit<VerifiedLogout, 'replay'>;

/** A user who was signed in at an issuer, and the time of the ID token. */
export type SignedInUser = Pick<SignIn, 'issuer' | 'subject' | 'sid' | 'authTime' | 'confirmedAt'>;

/** Operator sessions that ended early: some by id, or all that a subject had opened by then. */
export interface ClosedOperatorSessions {
  readonly sessions: readonly string[];
  readonly subject?: string | undefined;
}

/** The parts of an operator session that a logout or an end can match. */
export interface Open {
  readonly id: string;
  readonly subject: string;
  /** Unix ms. */
  readonly openedAt: number;
  /** Absent for ServiceAccounts. */
  readonly signed?: SignedInUser | undefined;
}

/** Whether a logout affects this person or this session at the issuer. */
export function logoutMatchesSignIn(
  { issuer, subject, sid }: Logout,
  signed: Omit<SignedInUser, 'authTime' | 'confirmedAt'>,
): boolean {
  if (signed.issuer !== issuer) return false;
  if (sid !== undefined && signed.sid !== undefined) return sid === signed.sid;
  return subject !== undefined && subject === signed.subject;
}

/**
 * Bounded list of logouts and ended operator sessions. It is used to refuse ID tokens that were issued before a logout
 * and arrive after it, and to end operator sessions, which are not in the store. The next broker reads the list from
 * the audit log.
 */
export type RecentLogouts = ReturnType<typeof createRecentLogouts>;

/** The end of one or more sessions: by a logout at the issuer, or by an operator. */
interface End {
  /** When the broker found out, Unix ms. */
  readonly since: number;
  readonly logout?: Logout;
  readonly closed?: ClosedOperatorSessions;
}

/** Ends of previous brokers. */
export interface StoredLogouts {
  /** Oldest first. */
  readonly ends: readonly End[];
  /** Time up to which ends may be missing, Unix ms. */
  readonly incompleteUntil: number;
}

/** Maximum entries; beyond it the oldest are dropped. */
export const MAX_RECENT_LOGOUTS = 20_000;
/** How long entries are kept, seconds: the longest operator session plus clock skew. */
const REMEMBERED_SECONDS = 12 * 3_600 + 120;

/**
 * Reads the logouts and ends that previous brokers recorded.
 * @throws the database's error if the store does not respond
 */
export async function readStoredLogouts({ db }: Pick<Store, 'db'>, clock: Clock): Promise<StoredLogouts> {
  const oldest = clock() - REMEMBERED_SECONDS * 1000;
  const rows = await db
    .selectFrom('audit')
    .select(['action', 'issuer', 'subject', 'time', 'detail'])
    // Uses the index audit_sign_outs, because the log may be long.
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

/** Returns the end that an audit row records; undefined if ends up to then may be missing from the log. */
function endOf({ action, issuer, subject, time, detail }: AuditRow): End | undefined {
  // The restored log lacks what was written after the backup.
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

/** Reads the details of a row; undefined if they were too long to be stored as a whole. */
function readDetail(text: string | null): Detail | undefined {
  try {
    return JSON.parse(text ?? '{}') as Detail;
  } catch {
    return undefined;
  }
}

/** Creates the list. */
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
    /** Returns the last logout that affects this ID token. */
    find: (signed: SignedInUser) => {
      prune();
      return ends.findLast(({ logout }) => logout && logoutMatchesSignIn(logout, signed) && isBefore(signed, logout))
        ?.logout;
    },
    /**
     * Marks operator sessions as ended.
     * @returns whether any part of this was not in the list yet
     */
    close: ({ sessions, subject }: ClosedOperatorSessions) => {
      const missing = sessions.filter((id) => !isClosed(id));
      if (missing.length === 0 && subject === undefined) return false;
      ends.push({ since: clock(), closed: { sessions: missing, subject } });
      prune();
      return true;
    },
    /**
     * Whether the person has signed out since the session began, or the session was closed. Also true for sessions older
     * than an entry that was dropped because the list was full.
     */
    isOver: ({ id, subject, openedAt, signed }: Open) => {
      prune();
      const ended = ends.findLast(
        ({ logout, closed }) =>
          closed?.subject === subject || (logout && signed && logoutMatchesSignIn(logout, signed)),
      );
      return isClosed(id) || openedAt <= Math.max(incompleteUntil, ended?.since ?? 0);
    },
    /** Returns the time, Unix ms, up to which entries may be missing; 0 if the list is complete. */
    incompleteUntil: () => incompleteUntil,
  };
}

/**
 * Whether an ID token does not prove a sign-in after the logout. A newer token may come from a refresh token. It then
 * has the previous session or authentication time.
 */
function isBefore({ confirmedAt, authTime, sid }: SignedInUser, out: Logout): boolean {
  const isSame = sid !== undefined && sid === out.sid;
  return isSame || confirmedAt <= out.at || (authTime !== undefined && authTime <= out.at);
}
