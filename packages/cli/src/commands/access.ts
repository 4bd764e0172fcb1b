/** `meshpass access check`: the access file, read as the broker reads it, without a cluster. */
import { readFileSync } from 'node:fs';
import { MeshpassError } from '@meshpass/identity/error';
import { parseAccess } from '@meshpass/policy';
import type { Output } from '../failure.ts';

/** @throws MeshpassError `access_file_*` */
export function check(file: string, options: { readonly output: Output }): void {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    throw new MeshpassError('usage', `${file} cannot be read.`, { cause });
  }
  const access = parseAccess(text, file);
  if (options.output === 'json') {
    console.log(JSON.stringify({ file, grants: access.grants.map((grant) => grant.name) }));
  } else {
    console.log(`${file} is well-formed: ${access.grants.length} grants. Services are checked against the cluster.`);
  }
}
