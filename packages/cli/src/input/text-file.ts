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
