/** Whether the mesh has what the access file grants. */
import type { Access, Mesh } from './model.ts';
import { accessFileError } from './problem.ts';
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
