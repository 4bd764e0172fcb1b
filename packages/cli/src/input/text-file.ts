/** Reads the files that command-line flags and arguments refer to. */
import { readFileSync } from 'node:fs';
import { describeFileError, type ErrorCode, MeshpassError } from '@meshpass/identity/error';

/**
 * Reads a text file.
 * @param flag the flag that specified the file, for the error message. Undefined if the file was passed as an argument
 * @throws MeshpassError `code`, which defaults to `usage`
 */
export function readTextFile(file: string, flag?: string, code?: ErrorCode): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    throw unreadableFileError(file, cause, flag, code);
  }
}

/** Builds an error such as `--jwks: cannot read keys.json: it does not exist.` */
export function unreadableFileError(
  file: string,
  cause: unknown,
  flag?: string,
  code: ErrorCode = 'usage',
): MeshpassError {
  const cannot = flag === undefined ? 'Cannot' : `${flag}: cannot`;
  return new MeshpassError(code, `${cannot} read ${file}: ${describeFileError(cause)}.`, { cause });
}

/**
 * Adds the name of the flag to the errors that `load` throws if a file cannot be read.
 * @throws MeshpassError `code`, for example `--access: cannot read access.yaml: it does not exist.`
 */
export function withFlagName<T>(flag: string, load: () => T, code: ErrorCode = 'config_invalid'): T {
  try {
    return load();
  } catch (cause) {
    if (!(cause instanceof MeshpassError) || cause.code !== 'config_invalid') throw cause;
    throw new MeshpassError(code, `${flag}: ${cause.message.replace(/^Cannot /, 'cannot ')}`, { cause });
  }
}
