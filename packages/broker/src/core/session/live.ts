/**
 * An in-memory index of the live sessions. Every request is checked against it. The sessions are also kept in the
 * store, so that they survive a restart.
 */
import { type Attestation, MeshpassError } from '@meshpass/identity';
import { identityMembers } from '../../audit/index.ts';
import { CLOSE_EXPLANATIONS, type CloseCause } from '../../store/index.ts';
import { type Session, sessionExpiry } from './session.ts';

/** How long a principal's SVIDs are valid. All times are in Unix seconds. */
export interface SvidLifetime {
  /** The latest time at which any of the SVIDs can expire. */
  until: number;
  /** The latest possible expiry that has been recorded in the store. No certificate outlives it. */
  recorded: number;
  /**
   * When the most recent SVID expires. After a restart, this is the latest possible expiry. Absent if no SVID has been
   * issued.
   */
  certified?: number;
  /**
   * The SHA-256 hash of the root of the most recent SVID, in hex. Absent if that SVID was issued before this process
   * started.
   */
  root?: string;
}

/** A live session and its in-memory state. */
export interface Live {
  /** The session. This object is never modified in place, but replaced whenever the session loses or gains a grant. */
  session: Session;
  /** When the lease expires, in Unix seconds. */
  leaseUntil: number;
  /** Whether the lease was extended after a broker outage and the agent has not sent a heartbeat since. */
  awaitingHeartbeat: boolean;
  /**
   * The lifetimes of the session's SVIDs, keyed by SPIFFE id. An entry is added when a certificate is first requested.
   */
  readonly svids: Map<string, SvidLifetime>;
  /** Set once, when the session ends. */
  ended?: { readonly cause: CloseCause; readonly at: number };
  /** Aborts any pending work for the session when it ends. */
  readonly abort: AbortController;
  /**
   * The request that is waiting for the session's first configuration, if any. Call `look` after the grants have
   * changed.
   */
  waiting?: { readonly look: () => void; readonly end: () => void } | undefined;
  /** The issuers whose lapsed sign-ins have already been handled. */
  lapsedSignIns?: Set<string> | undefined;
  /** The cached identity token, which is reused while more than half of its lifetime remains. */
  identityToken?: {
    readonly token: string;
    /** The id of the key that signed the token. That key may have been removed in the meantime. */
    readonly kid: string;
    readonly expiresAt: number;
    readonly freshUntil: number;
  };
}

/** Creates the in-memory state of a live session. */
export function createLiveSession(session: Session, lease: Pick<Live, 'leaseUntil' | 'awaitingHeartbeat'>): Live {
  return { session, ...lease, svids: new Map(), abort: new AbortController() };
}

/**
 * The members of a session that are remembered for a while after it has ended, so that error responses can state why it
 * ended, and late reports about it name its owner.
 */
export interface EndedSession extends Pick<Session, 'id' | 'jkt' | 'principals'> {
  readonly cause: CloseCause;
  readonly attestation: Pick<Attestation, 'issuer' | 'subject' | 'login' | 'workspace'>;
}

/** Returns the audit log fields that identify a session. */
export function sessionMembers({ id, attestation }: Pick<EndedSession, 'id' | 'attestation'>) {
  return { sessionId: id, ...identityMembers(attestation) };
}

/** Builds the error that is returned for requests of an ended session. */
export function sessionClosedError(cause: CloseCause): MeshpassError {
  return new MeshpassError('session_closed', `The session has ended: ${CLOSE_EXPLANATIONS[cause]}. Open a new one.`);
}

/**
 * Throws if the session has ended, its last grant has expired, or its lease has lapsed.
 * @param now the current time, in Unix seconds
 * @throws MeshpassError `session_closed`
 */
export function requireLiveSession({ session, leaseUntil, ended }: Live, now: number): void {
  if (ended) throw sessionClosedError(ended.cause);
  // The sweep runs only four times per second, so sessions that have lapsed since the last sweep must be rejected here.
  if (sessionExpiry(session) <= now) throw sessionClosedError('expired');
  if (leaseUntil <= now) throw sessionClosedError('lease_lapsed');
}

/**
 * The number of ended sessions to remember, so that error responses can state the cause instead of `session_unknown`.
 */
const REMEMBERED = 10_000;

/** An index of the live sessions by token, id and workspace. It also contains sessions that ended recently. */
export type LiveIndex = ReturnType<typeof createLiveIndex>;

/** Creates an empty index of live sessions. */
export function createLiveIndex() {
  const byId = new Map<string, Live>();
  const byToken = new Map<string, Live>();
  const byWorkspace = new Map<string, Live>();
  /** Sessions that ended recently, keyed by both their token hash and their id. */
  const ended = new Map<string, EndedSession>();
  return {
    byToken: (hash: string) => byToken.get(hash),
    byId: (id: string) => byId.get(id),
    byWorkspace: (key: string) => byWorkspace.get(key),
    all: () => byId.values(),
    size: () => byId.size,
    add: (live: Live) => {
      byId.set(live.session.id, live);
      byToken.set(live.session.tokenHash, live);
      byWorkspace.set(live.session.attestation.workspace.key, live);
    },
    remove: (live: Live) => {
      const { id, jkt, tokenHash, principals } = live.session;
      const { issuer, subject, login, workspace } = live.session.attestation;
      byId.delete(id);
      byToken.delete(tokenHash);
      if (byWorkspace.get(workspace.key) === live) byWorkspace.delete(workspace.key);
      if (!live.ended) return;
      const { cause } = live.ended;
      const over = { id, jkt, principals, cause, attestation: { issuer, subject, login, workspace } };
      ended.set(tokenHash, over).set(id, over);
      for (const key of ended.keys()) {
        if (ended.size <= 2 * REMEMBERED) return;
        ended.delete(key);
      }
    },
    /** Returns a recently ended session by its id or by the hash of its token. */
    ended: (key: string) => ended.get(key),
  };
}
