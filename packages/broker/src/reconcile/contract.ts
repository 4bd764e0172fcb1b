/** What sessions, tokens and policy changes need of the mesh; connect-mesh.ts provides it, tests replace it. */
import type { Access, GrantedPort, IdentityTokens, Manifest, MeshShape } from '@meshpass/access';
import type { ReachableService } from '@meshpass/identity';
import type { Resource } from '@meshpass/istio';
import type { PolicyDecisions } from './policy-decisions.ts';
import type { HttpServers } from './revocation/ended-sessions.ts';

/** Who a session is in the mesh. */
export interface MeshPrincipal {
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly spiffeId: string;
}

/** A principal whose session is over. */
export interface RevokedPrincipal extends MeshPrincipal {
  /** Unix seconds at which its last SVID, and the last token of its session, has expired; the root DENY holds it until then. */
  readonly until: number;
  /** The session, where it is over as a whole: its tokens are refused, too, whoever shows them. */
  readonly sessionId?: string | undefined;
  /** Ended without a DENY (session/deny-ended.ts): nothing is signed for it any more, and its ServiceAccount goes. */
  readonly undenied?: boolean | undefined;
}

export interface Revoker {
  /**
   * Makes the root DENY hold exactly these principals (expired and undenied ones left out) and deletes the ServiceAccounts of those
   * that are new.
   * Idempotent; converges from any state.
   */
  apply(revoked: readonly RevokedPrincipal[]): Promise<void>;
  /**
   * Deletes ServiceAccounts of ours that no live session stands behind: what a broker left that was killed between
   * making one and writing it down. Young ones are left alone: they may belong to a session that is being opened.
   * @returns the SPIFFE ids they stood for
   */
  collectOrphans(liveSpiffeIds: ReadonlySet<string>): Promise<readonly string[]>;
  /** Principals of sessions that the cluster knows: those that have a ServiceAccount of ours, and those that are denied. */
  principals(): Promise<readonly MeshPrincipal[]>;
}

/** The mesh and the access file as they stand now. */
export interface MeshState {
  /** Whether an access file has been applied since the start; until then nobody is let in and no edge is told anything. */
  readonly inForce: () => boolean;
  /** The access file that is in force. @throws MeshpassError `kubernetes_unavailable` where none is yet */
  readonly access: () => Access;
  /** Root certificates of the mesh, PEM. */
  readonly roots: () => readonly string[];
  /** What these grants reach. */
  readonly services: (grants: readonly string[]) => readonly ReachableService[];
  /** What each grant of the file in force holds; addresses in the cluster are for the broker alone. */
  readonly ports: () => readonly GrantedPort[];
  /** Namespaces in which each grant has a role of Kubernetes; empty where workspaces are not to reach its API server. */
  readonly kubernetes: () => ReadonlyMap<string, readonly string[]>;
  /** Changes when `services`, `kubernetes` or `roots` would answer anew. */
  readonly version: () => string;
  /** Called after every change of access, services or roots; returns its own cancellation. */
  readonly onChange: (listener: () => void) => () => void;
  /** Ids of the keys with which sidecars were last told to verify identity tokens; none before the first time. */
  readonly tokenKeys: () => ReadonlySet<string>;
  /** The broker's token keys are others now: has sidecars told of them. */
  readonly tokenKeysChanged: () => void;
  /** Why the broker is not ready, empty when it is. */
  readonly unready: () => readonly string[];
  /** Of that, what a broker that only stands by lacks, too: it applies nothing, but must see the cluster. */
  readonly unseen: () => readonly string[];
  /** Why the access file on disk cannot come into force: it cannot be read, or grants what the mesh does not have. */
  readonly fileProblem: () => string | undefined;
  /** The file on disk with this digest was in force before: what the mesh has lost since then is left out of it. */
  readonly wasInForce: (digest: string) => void;
}

/** The same, with what the process that runs it needs. */
export interface LiveMeshState extends MeshState {
  /** What an operator has to mend, though the broker goes on: a refused file, a failed apply, targets that are gone. */
  readonly problems: () => readonly string[];
  /** Where identity tokens are looked at; undefined until an access file is in force. */
  readonly httpServers: () => HttpServers | undefined;
  /** What becomes of each access file, for the audit log. */
  readonly onDecision: PolicyDecisions['listen'];
  /**
   * Puts a file in force, in place of the one on disk, which is not looked at from then on.
   * @throws MeshpassError why it is not in force; what was before stays
   */
  take(access: Access): Promise<void>;
  /** Goes on with a file that was in force before a restart, in place of the one on disk; what it misses may come. */
  resume(access: Access): void;
  /** Objects that are not as compiled, where others apply them. */
  readonly drift: () => number | undefined;
  /** Reads the access file now, and compiles anew. */
  reload(): Promise<void>;
  close(): void;
}

/** The mesh as changes of the access file need it. */
export interface PolicyMesh {
  /** Everything that policy depends on, as the cluster has it now. @throws MeshpassError `kubernetes_unavailable` */
  readonly read: () => Promise<readonly Resource[]>;
  readonly shape: MeshShape;
  readonly tokens: () => IdentityTokens;
  /** The access file in force, if there is one. */
  readonly inForce: () => Access | undefined;
  /**
   * Asks the cluster whether it would let the broker write these, and writes nothing.
   * @throws MeshpassError `policy_forbidden`, `kubernetes_unavailable`
   */
  readonly rehearse: (manifests: readonly Manifest[]) => Promise<void>;
  /** Puts a file in force, in place of the one on disk. @throws MeshpassError with why it is not in force */
  readonly take: (access: Access) => Promise<void>;
  /** Called after every change of what policy depends on; returns its own cancellation. */
  readonly onChange: (listener: () => void) => () => void;
  /** Objects that are not as compiled, where others apply them. */
  readonly drift: () => number | undefined;
  /** Goes on with the file that was applied last, after a start. */
  readonly resume: (access: Access) => void;
}
