/** Interface to the mesh for sessions, tokens and policy changes. connect-mesh.ts implements it; tests replace it. */
import type { connectMesh } from './connect-mesh.ts';
import type { meshState } from './mesh-state.ts';
import type { MeshRevoker } from './revocation/revoker.ts';

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

export type Revoker = Pick<MeshRevoker, 'apply' | 'collectOrphans' | 'principals'>;

/** Mesh state with the controls for the process that runs it. */
export type LiveMeshState = ReturnType<typeof meshState>;

/** Current state of the mesh and the access file. */
export type MeshState = Omit<
  LiveMeshState,
  'problems' | 'httpServers' | 'onDecision' | 'take' | 'resume' | 'followDisk' | 'drift' | 'reload' | 'close'
>;

/** Interface to the mesh for access file changes. */
export type PolicyMesh = Awaited<ReturnType<typeof connectMesh>>['policy'];
