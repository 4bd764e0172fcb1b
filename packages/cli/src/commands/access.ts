/** Defines `meshpass access check`, which validates the access file the way the broker does, but without a cluster. */

import { type Access, type Bounds, checkBounds, checkKnownRoles, loadAccess } from '@meshpass/access';
import { MeshpassError } from '@meshpass/identity';
import { defineCommand } from '../command/define.ts';
import { argument, list } from '../command/flag.ts';
import type { Answer } from '../command/outcome.ts';
import { output } from '../command/shared-flags.ts';

export const command = defineCommand({
  about:
    'Reads the file the same way the broker does, without a cluster. Prints each problem as FILE:LINE:COLUMN. Without --services, every Service is accepted; without --roles, every ClusterRole.',
  args: { file: argument('the access file') },
  flags: {
    services: list('<service>', "SERVICE.NAMESPACE that access files may grant, as in the chart's admission.services"),
    roles: list('<role>', "ClusterRole that access files may grant, as in the chart's admission.roles"),
    output,
  },
  exitCodes: { 0: 'well-formed', 1: 'not well-formed, or beyond --services or --roles' },
  examples: [
    'meshpass access check access.yaml',
    "meshpass access check access.yaml --services '*.shop' --services ledger.bank --roles view",
  ],
  page: 'docs/access-file.md',
  run: ({ file, ...bounds }) => check(file, bounds),
});

/**
 * Checks the access file.
 * @throws MeshpassError `access_file_*`, `policy_forbidden`
 */
function check(file: string, bounds: Bounds): Answer {
  let access: Access;
  try {
    ({ access } = loadAccess(file, { name: file }));
    checkKnownRoles(access);
    checkBounds(access, bounds);
  } catch (cause) {
    if (!(cause instanceof MeshpassError) || cause.code !== 'config_invalid') throw cause;
    throw new MeshpassError('usage', cause.message, { cause });
  }
  const { length } = access.grants;
  const grants = length === 1 ? '1 grant' : `${length} grants`;
  return {
    json: { file, grants: access.grants.map((grant) => grant.name) },
    text: () => [
      `${file} is well-formed: ${grants}. Services and roles in the cluster were not checked; meshpass policy plan does that.`,
    ],
  };
}
