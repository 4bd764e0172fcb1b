/** How a command ends: an exit code for scripts and, where it fails, one line with the cause, the next step and a stable code. */
import { type MeshpassError, toMeshpassError } from '@meshpass/identity/error';

export const EXIT = {
  ok: 0,
  /** Refused or failed; trying again changes nothing. */
  failed: 1,
  /** Wrong flags, arguments or configuration. */
  usage: 2,
  /** Something needed does not answer; trying again may help. */
  unavailable: 3,
  /** Undecidable: something that decides is not understood. Neither yes nor no. */
  unknown: 4,
} as const;

export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** What they mean where a command does not define more; `unknown` only occurs where one does. */
export const EXIT_CODES: Readonly<Partial<Record<ExitCode, string>>> = {
  0: 'done',
  1: 'refused or failed',
  2: 'wrong flags, arguments or configuration',
  3: 'a component that is needed does not answer; try again',
};

export type Output = 'text' | 'json';

/** Prints what was thrown and returns the exit code. */
export function reportFailure(thrown: unknown, output: Output): ExitCode {
  const error = toMeshpassError(thrown, 'internal', thrown instanceof Error ? thrown.message : String(thrown));
  if (output === 'json') {
    console.error(JSON.stringify({ error_code: error.code, error_description: error.message }));
  } else {
    console.error(`meshpass: ${error.message} [${error.code}]`);
    if (error.code === 'internal' && thrown instanceof Error && thrown.stack) console.error(thrown.stack);
  }
  return exitCodeOf(error);
}

function exitCodeOf(error: MeshpassError): ExitCode {
  if (error.code === 'usage' || error.code === 'config_invalid') return EXIT.usage;
  // `meshpass up` starts it: nothing was refused.
  if (error.code === 'agent_not_running') return EXIT.unavailable;
  return error.retryable ? EXIT.unavailable : EXIT.failed;
}
