/** The live sessions, in memory: what every request is checked against. The store holds the same, for a restart. */
import { MeshpassError } from '@meshpass/identity';
import { identityMembers } from '../audit/log/event.ts';
import { CLOSED_BECAUSE, type CloseCause } from '../store/close-causes.ts';
import type { Session } from './session.ts';

export interface Live {
  /** Replaced as a whole when the session loses a grant, or gains one. */
  session: Session;
  /** The lease lapses then, Unix seconds. */
  leaseUntil: number;
  /** Its lease was given anew because the broker had been away, and its agent has not been heard since then. */
  awaitingHeartbeat: boolean;
  /** End of the last SVID each principal may have, by SPIFFE id, Unix seconds; absent while none was asked for. */
  readonly lastNotAfter: Map<string, number>;
  /** End of the last SVID that was signed, by SPIFFE id, Unix seconds; after a restart, that which one may have. */
  readonly certified: Map<string, number>;
  /** Root of the last SVID of each principal, by SPIFFE id: SHA-256, hex; absent where it was signed before this process began. */
  readonly signedUnder: Map<string, string>;
  /** Set once, at the moment the session ends. */
  ended?: { readonly cause: CloseCause; readonly at: number };
  /** What the store did not confirm that it gains is being taken back (gain/unconfirmed.ts); nothing is gained meanwhile. */
  unconfirmed?: boolean;
  /** Ends what is being done for the session. */
  readonly abort: AbortController;
  /** The request that waits for the session's first configuration: it looks again when its grants are others. */
  waiting?: { readonly look: () => void; readonly end: () => void } | undefined;
  /** Issuers of sign-ins whose time has passed, and for which this was dealt with. */
  lapsedSignIns?: Set<string> | undefined;
  /** How often the store was given the sign-ins because one was over: what is written meanwhile may not have that. */
  signInWrites?: number;
  /** Its identity token, while more than half of its life is left. */
  identityToken?: {
    readonly token: string;
    /** Of the key that signed it, or of an older one that is gone meanwhile. */
    readonly kid: string;
    readonly expiresAt: number;
    readonly freshUntil: number;
  };
}

export interface Ended {
  readonly id: string;
  readonly cause: CloseCause;
  readonly owner: Owner;
  /** Thumbprint of its key. */
  readonly jkt: string;
  /** Key of its workspace. */
  readonly workspace: string;
}

/** Whose a session is, as the audit log names it. */
export interface Owner {
  readonly identity: ReturnType<typeof identityMembers>;
  /** SPIFFE id to grant. */
  readonly grants: ReadonlyMap<string, string>;
}

export function ownerOf({ attestation, principals }: Session): Owner {
  return {
    identity: identityMembers(attestation),
    grants: new Map(principals.map(({ spiffeId, grant }) => [spiffeId, grant])),
  };
}

/** What a request of a session that is over is answered. */
export function sessionClosed(cause: CloseCause): MeshpassError {
  return new MeshpassError('session_closed', `The session has ended: ${CLOSED_BECAUSE[cause]}. Open a new one.`);
}

/** How many sessions that are over are remembered, to say why and not merely that they are unknown. */
const REMEMBERED = 10_000;

export interface LiveIndex {
  readonly byToken: (tokenHash: string) => Live | undefined;
  readonly byId: (id: string) => Live | undefined;
  readonly byWorkspace: (key: string) => Live | undefined;
  readonly all: () => IterableIterator<Live>;
  readonly size: () => number;
  readonly add: (live: Live) => void;
  readonly remove: (live: Live) => void;
  /** A session that is over, for a while. */
  readonly ended: (tokenHash: string) => Ended | undefined;
  /** The same, by its id. */
  readonly endedById: (id: string) => Ended | undefined;
}

export function createLiveIndex(): LiveIndex {
  const byId = new Map<string, Live>();
  const byToken = new Map<string, Live>();
  const byWorkspace = new Map<string, Live>();
  const ended = new Map<string, Ended>();
  const endedById = new Map<string, Ended>();
  return {
    byToken: (hash) => byToken.get(hash),
    byId: (id) => byId.get(id),
    byWorkspace: (key) => byWorkspace.get(key),
    all: () => byId.values(),
    size: () => byId.size,
    add: (live) => {
      byId.set(live.session.id, live);
      byToken.set(live.session.tokenHash, live);
      byWorkspace.set(live.session.attestation.workspace.key, live);
    },
    remove: (live) => {
      const { id, jkt, tokenHash, attestation } = live.session;
      byId.delete(id);
      byToken.delete(tokenHash);
      if (byWorkspace.get(attestation.workspace.key) === live) byWorkspace.delete(attestation.workspace.key);
      if (!live.ended) return;
      const workspace = attestation.workspace.key;
      const over = { id, cause: live.ended.cause, owner: ownerOf(live.session), jkt, workspace };
      ended.set(tokenHash, over);
      endedById.set(id, over);
      if (ended.size > REMEMBERED) ended.delete(ended.keys().next().value!);
      if (endedById.size > REMEMBERED) endedById.delete(endedById.keys().next().value!);
    },
    ended: (hash) => ended.get(hash),
    endedById: (id) => endedById.get(id),
  };
}
