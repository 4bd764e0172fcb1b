/** Refusals that several parts of approvals share. */
import type { Access } from '@meshpass/access';
import { MeshpassError } from '@meshpass/identity';

/**
 * Returns the grant from the access file in force.
 * @throws MeshpassError `approval_not_offered`
 */
export function offered(access: Access, name: string) {
  const grant = access.grants.find((one) => one.name === name);
  if (grant?.approval) return { grant, approval: grant.approval };
  throw notOffered(name);
}

/** Builds the error for a grant that cannot be requested. */
export function notOffered(name: string): MeshpassError {
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
