/**
 * Reports the outcome of a command: an answer, or a message with the cause, the next step, a stable error code, and a
 * link to an explanation. Both have an exit code for scripts.
 */
import {
  type ErrorCode,
  errorCodeUrl,
  type Line,
  type MeshpassError,
  printableJson,
  terminalText,
  toMeshpassError,
} from '@meshpass/identity';

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

// Prints the output of commands. Because it contains untrusted text from manifests and brokers, anything that could
// control a terminal or a CI system is neutralized.

export interface Answer {
  /** The value to print if the output format is JSON. */
  readonly json: unknown;
  /**
   * Returns either an array of lines, in which embedded line breaks are replaced, or a string that is already
   * formatted.
   */
  readonly text: () => string | readonly Line[];
  /** The exit code. Defaults to 0. */
  readonly exit?: ExitCode;
}

/** Prints an answer as JSON if `output` is `json`, and as text otherwise. */
export function printAnswer({ json, text, exit = EXIT.ok }: Answer, output: unknown): ExitCode {
  if (output === 'json') {
    console.log(printableJson(json));
  } else {
    const lines = text();
    printLines(...(typeof lines === 'string' ? lines.split('\n') : lines));
  }
  return exit;
}

/** Whether standard output is a terminal on which colours are wanted. */
export function hasColour(): boolean {
  return process.stdout.isTTY === true && !process.env.NO_COLOR;
}

/** Prints lines to standard output. */
export function printLines(...lines: readonly Line[]): void {
  if (lines.length > 0) console.log(terminalText(lines));
}

/** Prints lines to standard error. */
export function printErrorLines(...lines: readonly Line[]): void {
  if (lines.length > 0) console.error(terminalText(lines));
}
