/**
 * Prints results and warnings. Names, paths and reasons come from manifests and brokers, so nothing is printed that
 * could control a terminal or a CI system.
 */
import { type Line, printableJson, terminalText } from '@meshpass/identity/text';

/** Prints lines. A line break within a line is replaced. */
export function printLines(...lines: readonly Line[]): void {
  if (lines.length > 0) console.log(terminalText(lines));
}

/** Prints text of several lines from a formatter, whose lines are already composed. */
export function printText(text: string): void {
  printLines(...text.split('\n'));
}

/** Prints lines to standard error. A line break within a line is replaced. */
export function warnLines(...lines: readonly Line[]): void {
  if (lines.length > 0) console.error(terminalText(lines));
}

/** Prints a value as indented JSON. */
export function printJson(value: unknown): void {
  console.log(printableJson(value));
}
