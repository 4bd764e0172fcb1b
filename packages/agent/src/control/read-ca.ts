/** Reads the configured CA file. */
import { readFileSync } from 'node:fs';
import { describeFileError, MeshpassError } from '@meshpass/identity/error';

/**
 * Reads a CA file.
 * @returns the PEM, or undefined if no path is given
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
