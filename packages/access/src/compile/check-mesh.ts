/** Whether the mesh has what the access file grants. */

import type { Mesh } from '@meshpass/istio';
import type { Access } from '../model.ts';
import { type AccessFileProblem, accessFileError } from '../problem.ts';
import { resolveAccess } from './resolve.ts';

/**
 * Checks every target of the file against the mesh.
 * @throws MeshpassError `access_service_unknown`, `access_port_unknown`, `access_port_undeclared`, `access_file_invalid`, with
 * all findings by FILE:LINE:COLUMN
 */
export function checkMesh(access: Access, mesh: Mesh): void {
  const { problems } = resolveAccess(access, mesh);
  if (problems.length > 0) throw accessFileError(problems);
}

/** What entries select by pattern or label and cannot be granted as it is: said, and left out. */
export function leftOut(access: Access, mesh: Mesh): readonly AccessFileProblem[] {
  return resolveAccess(access, mesh).leftOut;
}
