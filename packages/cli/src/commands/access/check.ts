/** `meshpass access check`: the access file, read as the broker reads it, without a cluster. */

import { type Access, loadAccess } from '@meshpass/access';
import { MeshpassError } from '@meshpass/identity/error';
import type { Output } from '../../command/failure.ts';

/** @throws MeshpassError `access_file_*` */
export function check(file: string, options: { readonly output: Output }): void {
  let access: Access;
  try {
    ({ access } = loadAccess(file, { name: file }));
  } catch (cause) {
    if (!(cause instanceof MeshpassError) || cause.code !== 'config_invalid') throw cause;
    throw new MeshpassError('usage', `${file} cannot be read.`, { cause });
  }
  if (options.output === 'json') {
    console.log(JSON.stringify({ file, grants: access.grants.map((grant) => grant.name) }));
  } else {
    console.log(`${file} is well-formed: ${access.grants.length} grants. Services are checked against the cluster.`);
  }
}
