/** Lookups and errors shared by the code that handles approvals. */
import { type Attestation, MeshpassError } from '@meshpass/identity';
import { toUnixSeconds } from '../../base/index.ts';
import type { ApprovalParts } from './parts.ts';

/**
 * Returns the approval that the access file in force requires before a person can have a grant.
 * @throws MeshpassError `approval_not_offered`
 */
export function requireApprovalOffer(
  { mesh, authorize, clock }: ApprovalParts,
  attestation: Attestation,
  name: string,
) {
  const { requestable } = authorize(attestation, mesh.access(), toUnixSeconds(clock));
  const found = requestable.find(({ grant }) => grant.name === name);
  if (found) return found.approval;
  throw new MeshpassError(
    'approval_not_offered',
    `The access file does not allow you to request the grant ${name}. Run meshpass requests to list the grants that you can request.`,
  );
}

/** Creates the error for an id that does not refer to an open request. */
export function unknown(id: string): MeshpassError {
  return new MeshpassError(
    'approval_unknown',
    `There is no open request ${id}. It may have been answered or have ended.`,
  );
}
