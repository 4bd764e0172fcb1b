/** Refusals that are shared by the code for approvals. */
import type { Approval } from '@meshpass/access';
import { type Attestation, MeshpassError } from '@meshpass/identity';
import { toUnixSeconds } from '../../base/index.ts';
import type { ApprovalParts } from './parts.ts';

/**
 * Returns the approval that a person can request for a grant under the access file in force.
 * @throws MeshpassError `approval_not_offered`
 */
export function requireApprovalOffer(
  { mesh, authorize, clock }: Pick<ApprovalParts, 'mesh' | 'authorize' | 'clock'>,
  attestation: Attestation,
  name: string,
): Approval {
  const { requestable } = authorize(attestation, mesh.access(), toUnixSeconds(clock));
  const found = requestable.find(({ grant }) => grant.name === name);
  if (found) return found.approval;
  throw notOffered(name);
}

/** Builds the error for a grant that cannot be requested. */
function notOffered(name: string): MeshpassError {
  return new MeshpassError(
    'approval_not_offered',
    `The access file does not allow you to request the grant ${name}. Run meshpass requests to list the grants that you can request.`,
  );
}

/** Builds the error for a request that is not open. */
export function unknown(id: string): MeshpassError {
  return new MeshpassError(
    'approval_unknown',
    `There is no open request ${id}. It may have been answered or have ended.`,
  );
}
