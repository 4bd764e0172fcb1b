/**
 * In-memory index of live sessions, which every request is checked against. The store has the same sessions for
 * restarts.
 */
import { MeshpassError } from '@meshpass/identity';
import { identityMembers } from '../../audit/index.ts';
import { CLOSE_EXPLANATIONS, type CloseCause } from '../../store/index.ts';
import { type Session, sessionExpiry } from './session.ts';

/** SVIDs of a principal. All times are Unix seconds. */
export interface SvidLifetime {
  /** Latest possible expiry. */
  until: number;
  /** The part of `until` that is in the store. No certificate is signed beyond it. */
  recorded: number;
  /** Expiry of the last one issued; after a restart, the latest possible expiry. Absent before the first one. */
  certified?: number;
  /** SHA-256 of the last one's root, hex; absent if it was issued before this process started. */
  root?: string;
}

/** A live session with its volatile state. */
export interface Live {
  /** Replaced as a whole when the session loses or gains a grant. */
  session: Session;
  /** End of the lease, Unix seconds. */
  leaseUntil: number;
  /** Whether the lease was extended after an absence of the broker and no heartbeat has come since. */
  awaitingHeartbeat: boolean;
  /** SVIDs by SPIFFE id, from the first certificate request on. */
  readonly svids: Map<string, SvidLifetime>;
  /** Set once, when the session ends. */
  ended?: { readonly cause: CloseCause; readonly at: number };
  /** Aborts pending work for the session when it ends. */
  readonly abort: AbortController;
  /** Request that is waiting for the session's first configuration; `look` rechecks after a change of grants. */
  waiting?: { readonly look: () => void; readonly end: () => void } | undefined;
  /** Issuers whose lapsed sign-ins have been handled. */
  lapsedSignIns?: Set<string> | undefined;
  /** Cached identity token, reused while more than half of its lifetime remains. */
  identityToken?: {
    readonly token: string;
    /** Id of the key that signed the token. The key may have been removed since. */
    readonly kid: string;
    readonly expiresAt: number;
    readonly freshUntil: number;
  };
}

/** Creates the state of a live session. */
export function createLiveSession(session: Session, lease: Pick<Live, 'leaseUntil' | 'awaitingHeartbeat'>): Live {
  return { session, ...lease, svids: new Map(), abort: new AbortController() };
}

/** An ended session, remembered to explain refusals. */
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
  /** Grant by SPIFFE id. */
  readonly grants: ReadonlyMap<string, string>;
}

/** Returns the owner of a session for the audit log. */
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

/** Builds the error for requests of an ended session. */
export function sessionClosedError(cause: CloseCause): MeshpassError {
  return new MeshpassError('session_closed', `The session has ended: ${CLOSE_EXPLANATIONS[cause]}. Open a new one.`);
}

/**
 * Refuses ended, expired and lapsed sessions.
 * @throws MeshpassError `session_closed`
 */
export function requireLiveSession({ session, leaseUntil, ended }: Live, now: number): void {
  if (ended) throw sessionClosedError(ended.cause);
  // The sweep runs only four times a second, so lapsed sessions must also be refused here.
  if (sessionExpiry(session) <= now) throw sessionClosedError('expired');
  if (leaseUntil <= now) throw sessionClosedError('lease_lapsed');
}

/** Number of ended sessions remembered, so that a refusal states the cause and not `session_unknown`. */
const REMEMBERED = 10_000;

/** Live sessions by token, id and workspace, and recently ended ones. */
export type LiveIndex = ReturnType<typeof createLiveIndex>;

/** Creates an empty index. */
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
    /** Returns a recently ended session by its token. */
    ended: (hash: string) => ended.get(hash),
    /** Returns a recently ended session by its id. */
    endedById: (id: string) => ended.get(id),
  };
}
