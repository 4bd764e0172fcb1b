/** Reads the CA file that is configured for the agent. */
import { readFileSync } from 'node:fs';
import { describeFileError, MeshpassError } from '@meshpass/identity/error';

/**
 * Reads a CA file in PEM format.
 * @returns the PEM, or undefined if the path is undefined
 * @throws MeshpassError config_invalid
 */
export function readCa(path: string | undefined): string | undefined {
  if (path === undefined) return undefined;
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    throw new MeshpassError('config_invalid', `--ca-file: cannot read ${path}: ${describeFileError(cause)}.`, {
      cause,
    });
  }
}
