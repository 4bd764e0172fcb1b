/**
 * Reports the outcome of a command: an exit code for scripts and, if the command failed, a message with the cause, the
 * next step, a stable error code, and a link to an explanation.
 */
import { errorCodeUrl } from '@meshpass/identity/documentation/url';
import { type ErrorCode, type MeshpassError, toMeshpassError } from '@meshpass/identity/error';
import { terminalText } from '@meshpass/identity/text';

export const EXIT = {
  ok: 0,
  /** The command was rejected or failed. Retrying does not help. */
  failed: 1,
  /** The flags, the arguments or the configuration are invalid. */
  usage: 2,
  /** A required component is not responding. Retrying may help. */
  unavailable: 3,
  /** The answer is neither yes nor no, because Meshpass does not understand an object that affects it. */
  unknown: 4,
} as const;

export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/**
 * The default meanings of the exit codes. Only commands that define their own meaning for `unknown` use that exit code.
 */
export const EXIT_CODES: Readonly<Partial<Record<ExitCode, string>>> = {
  0: 'done',
  1: 'rejected or failed',
  2: 'invalid flags, arguments or configuration',
  3: 'a required component does not respond; try again',
};

export type Output = 'text' | 'json';

/** Prints an error and returns the corresponding exit code. */
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
 * Returns the URL of the page that explains an error code. There is no such page for errors about invalid input,
 * because their messages already contain the flag or setting and the cause.
 */
export function explanationUrl(code: ErrorCode): string | undefined {
  return isWrongInput(code) ? undefined : errorCodeUrl(code);
}

function isWrongInput(code: ErrorCode): boolean {
  return code === 'usage' || code === 'config_invalid';
}

function exitCodeOf(error: MeshpassError): ExitCode {
  if (isWrongInput(error.code)) return EXIT.usage;
  // This is not a rejection. After `meshpass up` has started the agent, a retry succeeds.
  if (error.code === 'agent_not_running') return EXIT.unavailable;
  return error.retryable ? EXIT.unavailable : EXIT.failed;
}
