/**
 * In-memory index of live sessions. Every request is checked against it. The store contains the same sessions, so that
 * they survive a restart.
 */
import { MeshpassError } from '@meshpass/identity';
import { identityMembers } from '../../audit/index.ts';
import { CLOSE_EXPLANATIONS, type CloseCause } from '../../store/index.ts';
import { type Session, sessionExpiry } from './session.ts';

/** Lifetime of a principal's SVIDs. All times are Unix seconds. */
export interface SvidLifetime {
  /** Latest possible expiry of any SVID. */
  until: number;
  /** Latest possible expiry that is recorded in the store. Certificates never outlive it. */
  recorded: number;
  /** Expiry of the last SVID. After a restart, the latest possible expiry. Absent if none has been issued. */
  certified?: number;
  /** SHA-256 of the last SVID's root, hex. Absent if the SVID was issued before this process started. */
  root?: string;
}

/** A live session and its in-memory state. */
export interface Live {
  /** Never modified in place. The object is replaced when the session loses or gains a grant. */
  session: Session;
  /** When the lease expires, Unix seconds. */
  leaseUntil: number;
  /** Whether the lease was extended after a broker outage and the agent has not sent a heartbeat since then. */
  awaitingHeartbeat: boolean;
  /** SVID lifetimes by SPIFFE id. An entry is added with the first certificate request. */
  readonly svids: Map<string, SvidLifetime>;
  /** Set once, when the session ends. */
  ended?: { readonly cause: CloseCause; readonly at: number };
  /** Aborts pending work for the session when it ends. */
  readonly abort: AbortController;
  /** Request that is waiting for the session's first configuration. Call `look` after the grants have changed. */
  waiting?: { readonly look: () => void; readonly end: () => void } | undefined;
  /** Issuers whose lapsed sign-ins have already been handled. */
  lapsedSignIns?: Set<string> | undefined;
  /** Cached identity token. It is reused while more than half of its lifetime remains. */
  identityToken?: {
    readonly token: string;
    /** Id of the key that signed the token. The key may have been removed since then. */
    readonly kid: string;
    readonly expiresAt: number;
    readonly freshUntil: number;
  };
}

/** Creates the state of a live session. */
export function createLiveSession(session: Session, lease: Pick<Live, 'leaseUntil' | 'awaitingHeartbeat'>): Live {
  return { session, ...lease, svids: new Map(), abort: new AbortController() };
}

/** An ended session. It is remembered for a while, so that refusals can state why it ended. */
export interface EndedSession {
  readonly id: string;
  readonly cause: CloseCause;
  readonly owner: Owner;
  /** Thumbprint of the session's key. */
  readonly jkt: string;
  /** Key of the session's workspace. */
  readonly workspace: string;
}

/** Identity of a session's owner in the audit log. */
export interface Owner {
  readonly identity: ReturnType<typeof identityMembers>;
  /** Grant names by SPIFFE id. */
  readonly grants: ReadonlyMap<string, string>;
}

/** Returns the identity of a session's owner for the audit log. */
export function ownerOf({ attestation, principals }: Session): Owner {
  return {
    identity: identityMembers(attestation),
    grants: new Map(principals.map(({ spiffeId, grant }) => [spiffeId, grant])),
  };
}

/** Returns the audit log fields that identify a session. */
export function sessionMembers({ id, attestation }: Session) {
  return { sessionId: id, ...identityMembers(attestation) };
}

/** Builds the error with which requests for an ended session are refused. */
export function sessionClosedError(cause: CloseCause): MeshpassError {
  return new MeshpassError('session_closed', `The session has ended: ${CLOSE_EXPLANATIONS[cause]}. Open a new one.`);
}

/**
 * Throws if the session has ended, its last grant has expired, or its lease has lapsed.
 * @param now Unix seconds
 * @throws MeshpassError `session_closed`
 */
export function requireLiveSession({ session, leaseUntil, ended }: Live, now: number): void {
  if (ended) throw sessionClosedError(ended.cause);
  // The sweep runs only four times per second, so sessions that have lapsed since then must be refused here.
  if (sessionExpiry(session) <= now) throw sessionClosedError('expired');
  if (leaseUntil <= now) throw sessionClosedError('lease_lapsed');
}

/** Number of ended sessions to remember, so that refusals can state the cause instead of `session_unknown`. */
const REMEMBERED = 10_000;

/** Index of live sessions by token, id and workspace. It also contains recently ended sessions. */
export type LiveIndex = ReturnType<typeof createLiveIndex>;

/** Creates an empty index of live sessions. */
export function createLiveIndex() {
  const byId = new Map<string, Live>();
  const byToken = new Map<string, Live>();
  const byWorkspace = new Map<string, Live>();
  /** Recently ended sessions, by token and by id. */
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
      const { id, jkt, tokenHash, attestation } = live.session;
      byId.delete(id);
      byToken.delete(tokenHash);
      if (byWorkspace.get(attestation.workspace.key) === live) byWorkspace.delete(attestation.workspace.key);
      if (!live.ended) return;
      const workspace = attestation.workspace.key;
      const over = { id, cause: live.ended.cause, owner: ownerOf(live.session), jkt, workspace };
      ended.set(tokenHash, over).set(id, over);
      for (const key of ended.keys()) {
        if (ended.size <= 2 * REMEMBERED) return;
        ended.delete(key);
      }
    },
    /** Returns a recently ended session by the hash of its token. */
    ended: (hash: string) => ended.get(hash),
    /** Returns a recently ended session by its id. */
    endedById: (id: string) => ended.get(id),
  };
}
