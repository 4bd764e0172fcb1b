/** The CA that the configuration names. */
import { readFileSync } from 'node:fs';
import { fileProblem, MeshpassError } from '@meshpass/identity/error';

/** @returns PEM. @throws MeshpassError config_invalid */
export function readCa(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    throw new MeshpassError('config_invalid', `--ca-file: ${path} cannot be read: ${fileProblem(cause)}.`, { cause });
  }
}
