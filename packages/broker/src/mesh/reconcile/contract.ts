/**
 * The interface to the mesh for sessions, tokens and policy changes. It is implemented by connect-mesh.ts and replaced
 * in tests.
 */
import type { connectMesh } from './connect-mesh.ts';
import type { createMeshState } from './mesh-state.ts';
import type { MeshRevoker } from './revocation/revoker.ts';

export type Revoker = Pick<MeshRevoker, 'apply' | 'collectOrphans' | 'principals'>;

/** The complete mesh state, including the controls for the process that runs it. */
export type LiveMeshState = ReturnType<typeof createMeshState>;

/**
 * The current state of the mesh and the access file. The members are listed individually so that new controls are not
 * exposed to sessions by accident.
 */
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

/** The interface to the mesh that is used for changing the access file. */
export type PolicyMesh = Awaited<ReturnType<typeof connectMesh>>['policy'];
