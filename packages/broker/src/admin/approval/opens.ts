/** Lists the services that a grant opens, for requesters and approvers. */
import { type ApprovalRequest, MAX_OPENS } from '@meshpass/identity/approval';
import type { MeshState } from '../../mesh/index.ts';

/** Returns the ports that a grant opens, up to MAX_OPENS. */
export function opensOf(mesh: MeshState, grant: string): NonNullable<ApprovalRequest['opens']> {
  if (!mesh.inForce()) return [];
  return mesh
    .services([grant])
    .slice(0, MAX_OPENS)
    .map(({ host, port, allow }) => ({ host, port, ...(allow && { allow: [...allow] }) }));
}
