/** Refusals that several parts of approvals give, and the look into the access file that leads to them. */
import type { Access } from '@meshpass/access';
import { MeshpassError } from '@meshpass/identity';

/** The grant as the access file in force has it. @throws MeshpassError `approval_not_offered` */
export function offered(access: Access, name: string) {
  const grant = access.grants.find((one) => one.name === name);
  if (grant?.approval) return { grant, approval: grant.approval };
  throw notOffered(name);
}

export function notOffered(name: string): MeshpassError {
  return new MeshpassError(
    'approval_not_offered',
    `The access file offers you no grant ${name} by approval: meshpass requests lists those that you can ask for.`,
  );
}

export function unknown(id: string): MeshpassError {
  return new MeshpassError(
    'approval_unknown',
    `There is no open request ${id}: it may have been answered, or have ended.`,
  );
}
