/** How a command fails: one line that says what is wrong and what to do, a stable code, an exit code for scripts. */
import { type MeshpassError, toMeshpassError } from '@meshpass/identity/error';

/** Documented in `meshpass --help`. */
export const EXIT = {
  ok: 0,
  /** Refused or failed; trying again changes nothing. */
  failed: 1,
  /** Wrong flags, arguments or configuration. */
  usage: 2,
  /** Something needed does not answer; trying again may help. */
  unavailable: 3,
  /** Nothing can be said: something decides that is not understood. Neither yes nor no. */
  unknown: 4,
} as const;

export type Output = 'text' | 'json';

/** Prints what was thrown and returns the exit code. */
export function reportFailure(thrown: unknown, output: Output): number {
  const error = toMeshpassError(thrown, 'internal', thrown instanceof Error ? thrown.message : String(thrown));
  if (output === 'json') {
    console.error(JSON.stringify({ error_code: error.code, error_description: error.message }));
  } else {
    console.error(`meshpass: ${error.message} [${error.code}]`);
    if (error.code === 'internal' && thrown instanceof Error && thrown.stack) console.error(thrown.stack);
  }
  return exitCodeOf(error);
}

function exitCodeOf(error: MeshpassError): number {
  if (error.code === 'usage' || error.code === 'config_invalid') return EXIT.usage;
  return error.retryable ? EXIT.unavailable : EXIT.failed;
}
