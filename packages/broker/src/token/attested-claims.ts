/** Claims of a session's proof that endpoints of its grants demand, for its identity token. */
import { type ClaimValues, claimsRequired } from '@meshpass/access';
import type { MeshState } from '../reconcile/contract.ts';
import type { Session } from '../session/session.ts';

/** @returns undefined while no access file is in force, so that nobody knows what is demanded */
export function attestedClaims(mesh: MeshState) {
  return ({ grants, attestation }: Session): ClaimValues | undefined => {
    if (!mesh.inForce()) return undefined;
    const names = grants.map(({ name }) => name);
    return claimsRequired(mesh.access(), names, attestation.claims);
  };
}
