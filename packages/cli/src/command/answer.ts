/**
 * Prints the output of commands. Because it contains untrusted text from manifests and brokers, anything that could
 * control a terminal or a CI system is neutralized.
 */
import { type Line, printableJson, terminalText } from '@meshpass/identity/text';
import { EXIT, type ExitCode } from './failure.ts';

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

/** Prints lines to standard output. */
export function printLines(...lines: readonly Line[]): void {
  if (lines.length > 0) console.log(terminalText(lines));
}

/** Prints lines to standard error. */
export function printErrorLines(...lines: readonly Line[]): void {
  if (lines.length > 0) console.error(terminalText(lines));
}
