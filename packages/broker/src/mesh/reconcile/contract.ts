/** Interface to the mesh for sessions, tokens and policy changes. connect-mesh.ts implements it; tests replace it. */
import type { Access, GrantedPort, IdentityTokens, Manifest, MeshShape } from '@meshpass/access';
import type { ReachableService } from '@meshpass/identity';
import type { AccessTexts } from './access-file.ts';
import type { KeptAccess } from './former-access.ts';
import type { PolicyDecisions } from './policy-decisions.ts';
import type { ClusterObject } from './policy-resources.ts';
import type { HttpServers } from './revocation/ended-sessions.ts';

/** Identity of a session in the mesh. */
export interface MeshPrincipal {
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly spiffeId: string;
}

/** Principal of an ended session. */
export interface RevokedPrincipal extends MeshPrincipal {
  /**
   * Unix seconds at which its last SVID and its session's last token have expired. The root DENY lists it until then.
   */
  readonly until: number;
  /** Session id, if the whole session has ended. Its tokens are then refused for every caller. */
  readonly sessionId?: string | undefined;
  /**
   * Whether it ended without a DENY (core/session/deny/ended.ts). Nothing more is signed for it, and its ServiceAccount
   * is deleted.
   */
  readonly undenied?: boolean | undefined;
}

export interface Revoker {
  /**
   * Makes the root DENY list exactly these principals, except expired and undenied ones, and deletes the
   * ServiceAccounts of new ones. Idempotent; converges from any state.
   */
  apply(revoked: readonly RevokedPrincipal[]): Promise<void>;
  /**
   * Deletes our ServiceAccounts without a live session, left by a broker that was killed between creating and recording
   * them. Recent ones are kept, because they may belong to a session that is being opened.
   * @returns the SPIFFE ids of the deleted accounts
   */
  collectOrphans(liveSpiffeIds: ReadonlySet<string>): Promise<readonly string[]>;
  /** Lists session principals in the cluster: those with a ServiceAccount of ours, and those that are denied. */
  principals(): Promise<readonly MeshPrincipal[]>;
}

/** Current state of the mesh and the access file. */
export interface MeshState {
  /**
   * Whether an access file has been applied since the start. Before that, no session is admitted and edges receive
   * nothing.
   */
  readonly inForce: () => boolean;
  /**
   * Returns the access file in force.
   * @throws MeshpassError `kubernetes_unavailable` if none is in force yet
   */
  readonly access: () => Access;
  /** Root certificates of the mesh, PEM. */
  readonly roots: () => readonly string[];
  /** Returns the services that these grants reach. */
  readonly services: (grants: readonly string[]) => readonly ReachableService[];
  /** Lists the granted ports of the file in force. Cluster addresses stay inside the broker. */
  readonly ports: () => readonly GrantedPort[];
  /** Namespaces in which each grant has a Kubernetes role; empty if workspaces have no access to the API server. */
  readonly kubernetes: () => ReadonlyMap<string, readonly string[]>;
  /** Version that changes with the results of `services`, `kubernetes` and `roots`. */
  readonly version: () => string;
  /** Registers a listener for changes of access, services or roots. Returns a function that unsubscribes it. */
  readonly onChange: (listener: () => void) => () => void;
  /** Ids of the token keys that were last applied to sidecars; empty before the first time. */
  readonly tokenKeys: () => ReadonlySet<string>;
  /** Applies the broker's new token keys to sidecars. */
  readonly tokenKeysChanged: () => void;
  /** Reasons why the broker is not ready; empty if it is. */
  readonly unready: () => readonly string[];
  /**
   * Subset of `unready` that also applies to a standby broker, which applies nothing but must be able to see the
   * cluster.
   */
  readonly unseen: () => readonly string[];
  /** Why the access file on disk cannot come into force: it is unreadable, or grants objects that the mesh lacks. */
  readonly fileProblem: () => string | undefined;
  /**
   * Sets the access file that was in force before the start. Objects that the mesh has lost since are omitted, and the
   * file comes into force again if the one on disk is refused.
   */
  readonly wasInForce: (kept: KeptAccess) => void;
}

/** Mesh state with the controls for the process that runs it. */
export interface LiveMeshState extends MeshState {
  /**
   * Problems that an operator must fix although the broker continues: a refused file, a failed apply, missing targets.
   */
  readonly problems: () => readonly string[];
  /** Servers that verify identity tokens; undefined until an access file is in force. */
  readonly httpServers: () => HttpServers | undefined;
  /** Registers the listener for decisions about access files, for the audit log. */
  readonly onDecision: PolicyDecisions['listen'];
  /**
   * Puts a file in force instead of the one on disk, which is ignored from then on.
   * @throws MeshpassError with the reason why it is not in force; the previous file stays
   */
  take(access: Access): Promise<void>;
  /**
   * Continues with the file that was in force before a restart, not the one on disk. Objects that the mesh lacks may
   * appear later.
   */
  resume(access: Access): void;
  /** Returns control to the file on disk. */
  followDisk(): Promise<void>;
  /** Number of objects that differ from the compiled ones, with GitOps. */
  readonly drift: () => number | undefined;
  /** Reads the access file now and compiles it again. */
  reload(): Promise<void>;
  close(): void;
}

/** Interface to the mesh for access file changes. */
export interface PolicyMesh extends Pick<LiveMeshState, 'take' | 'resume' | 'followDisk' | 'drift'> {
  /**
   * Lists all objects in the cluster that policy depends on.
   * @throws MeshpassError `kubernetes_unavailable`
   */
  readonly read: () => Promise<readonly ClusterObject[]>;
  readonly shape: MeshShape;
  readonly tokens: () => IdentityTokens;
  /** Access file in force, if any. */
  readonly inForce: () => Access | undefined;
  /**
   * Checks with a dry run whether the cluster would accept these objects from the broker.
   * @throws MeshpassError `policy_forbidden`, `kubernetes_unavailable`
   */
  readonly rehearse: (manifests: readonly Manifest[]) => Promise<void>;
  /** Registers a listener for changes to objects that policy depends on. Returns a function that unsubscribes it. */
  readonly onChange: (listener: () => void) => () => void;
  /**
   * Reads the access file on disk with its includes.
   * @throws MeshpassError `access_*`
   */
  readonly onDisk: () => AccessTexts;
}
