/** Interface to the mesh for sessions, tokens and policy changes. connect-mesh.ts implements it. Tests replace it. */
import type { connectMesh } from './connect-mesh.ts';
import type { createMeshState } from './mesh-state.ts';
import type { MeshRevoker } from './revocation/revoker.ts';

export type Revoker = Pick<MeshRevoker, 'apply' | 'collectOrphans' | 'principals'>;

/** Mesh state, including the controls for the process that runs it. */
export type LiveMeshState = ReturnType<typeof createMeshState>;

/** Current state of the mesh and the access file. Lists each member, so that a new control does not reach sessions. */
export type MeshState = Pick<
  LiveMeshState,
  | 'access'
  | 'inForce'
  | 'wasInForce'
  | 'unseen'
  | 'fileProblem'
  | 'roots'
  | 'services'
  | 'ports'
  | 'kubernetes'
  | 'tokenKeys'
  | 'tokenKeysChanged'
  | 'version'
  | 'onChange'
  | 'unready'
>;

/** Interface to the mesh for access file changes. */
export type PolicyMesh = Awaited<ReturnType<typeof connectMesh>>['policy'];
