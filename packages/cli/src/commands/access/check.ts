/** `meshpass access check`: the access file, read as the broker reads it, without a cluster. */

import { type Access, checkKnownRoles, loadAccess } from '@meshpass/access';
import { MeshpassError } from '@meshpass/identity/error';
import { defineCommand } from '../../command/define.ts';
import type { Output } from '../../command/failure.ts';
import { argument } from '../../command/flag.ts';
import { output } from '../../command/shared-flags.ts';

export const command = defineCommand({
  about: 'Reads it as the broker does, without a cluster. Each problem is printed as FILE:LINE:COLUMN.',
  args: { file: argument('the access file') },
  flags: { output },
  exitCodes: { 0: 'well-formed', 1: 'not well-formed' },
  examples: ['meshpass access check access.yaml'],
  page: 'docs/access-file.md',
  run: ({ file, output }) => check(file, output),
});

/** @throws MeshpassError `access_file_*` */
function check(file: string, output: Output): void {
  let access: Access;
  try {
    ({ access } = loadAccess(file, { name: file }));
    checkKnownRoles(access);
  } catch (cause) {
    if (!(cause instanceof MeshpassError) || cause.code !== 'config_invalid') throw cause;
    throw new MeshpassError('usage', cause.message, { cause });
  }
  if (output === 'json') {
    console.log(JSON.stringify({ file, grants: access.grants.map((grant) => grant.name) }));
  } else {
    const { length } = access.grants;
    const grants = length === 1 ? '1 grant' : `${length} grants`;
    console.log(
      `${file} is well-formed: ${grants}. Services and roles of the cluster were not checked; policy plan does that.`,
    );
  }
}
