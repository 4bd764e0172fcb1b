/**
 * Answers of commands. Names, paths and reasons in them come from manifests and brokers, so nothing is printed that
 * could control a terminal or a CI system.
 */
import { type Line, printableJson, terminalText } from '@meshpass/identity/text';
import { EXIT, type ExitCode } from './failure.ts';

export interface Answer {
  /** Value for `--output json`. */
  readonly json: unknown;
  /** Returns lines, whose own line breaks are replaced; or a text that a formatter has composed of lines. */
  readonly text: () => string | readonly Line[];
  /** 0 by default. */
  readonly exit?: ExitCode;
}

/** Prints an answer, as JSON if `output` is `json`. */
export function printAnswer({ json, text, exit = EXIT.ok }: Answer, output: unknown): ExitCode {
  if (output === 'json') {
    console.log(printableJson(json));
  } else {
    const lines = text();
    printLines(...(typeof lines === 'string' ? lines.split('\n') : lines));
  }
  return exit;
}

/** Prints lines. */
export function printLines(...lines: readonly Line[]): void {
  if (lines.length > 0) console.log(terminalText(lines));
}

/** Prints lines to standard error. */
export function printErrorLines(...lines: readonly Line[]): void {
  if (lines.length > 0) console.error(terminalText(lines));
}
