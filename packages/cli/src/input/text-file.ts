/** Files that flags and arguments name. */
import { readFileSync } from 'node:fs';
import { type ErrorCode, fileProblem, MeshpassError } from '@meshpass/identity/error';

/**
 * @param flag that named the file, for the message; undefined for an argument
 * @throws MeshpassError `code`, by default `usage`
 */
export function readTextFile(file: string, flag?: string, code?: ErrorCode): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    throw unreadable(file, cause, flag, code);
  }
}

/** `--jwks: keys.json cannot be read: it does not exist.` */
export function unreadable(file: string, cause: unknown, flag?: string, code: ErrorCode = 'usage'): MeshpassError {
  const from = flag === undefined ? '' : `${flag}: `;
  return new MeshpassError(code, `${from}${file} cannot be read: ${fileProblem(cause)}.`, { cause });
}

/** Names the flag in what `load` throws about a file that cannot be read. */
export function namingFlag<T>(flag: string, load: () => T): T {
  try {
    return load();
  } catch (cause) {
    if (!(cause instanceof MeshpassError) || cause.code !== 'config_invalid') throw cause;
    throw new MeshpassError('config_invalid', `${flag}: ${cause.message}`, { cause });
  }
}
