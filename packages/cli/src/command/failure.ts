/**
 * Reports the outcome of a command: an exit code for scripts and, on failure, one line with the cause, the next step, a
 * stable error code and a link that explains it.
 */
import { errorCodeUrl } from '@meshpass/identity/documentation/url';
import { type ErrorCode, type MeshpassError, toMeshpassError } from '@meshpass/identity/error';
import { terminalText } from '@meshpass/identity/text';

export const EXIT = {
  ok: 0,
  /** The command was rejected or failed. A retry does not help. */
  failed: 1,
  /** The flags, the arguments or the configuration are invalid. */
  usage: 2,
  /** A required component does not respond. A retry may help. */
  unavailable: 3,
  /** The answer is neither yes nor no, because Meshpass does not understand an object that affects it. */
  unknown: 4,
} as const;

export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** Default meanings of the exit codes. Only commands that define `unknown` themselves exit with it. */
export const EXIT_CODES: Readonly<Partial<Record<ExitCode, string>>> = {
  0: 'done',
  1: 'rejected or failed',
  2: 'invalid flags, arguments or configuration',
  3: 'a required component does not respond; try again',
};

export type Output = 'text' | 'json';

/** Prints an error and returns the exit code. */
export function reportFailure(thrown: unknown, output: Output): ExitCode {
  const error = toMeshpassError(thrown, 'internal', thrown instanceof Error ? thrown.message : String(thrown));
  if (output === 'json') {
    console.error(JSON.stringify({ error_code: error.code, error_description: error.message }));
  } else {
    const page = explanationUrl(error.code);
    const seen = page === undefined ? [] : [`see ${page}`];
    console.error(terminalText([...`meshpass: ${error.message} [${error.code}]`.split('\n'), ...seen]));
    if (error.code === 'internal' && thrown instanceof Error && thrown.stack) console.error(thrown.stack);
  }
  return exitCodeOf(error);
}

/**
 * Returns the URL of the page that explains an error code. Errors about invalid input have no page, because the message
 * already names the flag or setting and the cause.
 */
export function explanationUrl(code: ErrorCode): string | undefined {
  return isWrongInput(code) ? undefined : errorCodeUrl(code);
}

function isWrongInput(code: ErrorCode): boolean {
  return code === 'usage' || code === 'config_invalid';
}

function exitCodeOf(error: MeshpassError): ExitCode {
  if (isWrongInput(error.code)) return EXIT.usage;
  // Not a rejection: `meshpass up` starts the agent, and then a retry succeeds.
  if (error.code === 'agent_not_running') return EXIT.unavailable;
  return error.retryable ? EXIT.unavailable : EXIT.failed;
}
