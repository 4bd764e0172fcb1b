/** What a grant opens, for whoever asks for it or answers. */
import { type ApprovalRequest, MAX_OPENS } from '@meshpass/identity/approval';
import type { MeshState } from '../reconcile/contract.ts';

export function opensOf(mesh: MeshState, grant: string): NonNullable<ApprovalRequest['opens']> {
  if (!mesh.inForce()) return [];
  return mesh
    .services([grant])
    .slice(0, MAX_OPENS)
    .map(({ host, port, allow }) => ({ host, port, ...(allow && { allow: [...allow] }) }));
}
