/** Makes text safe to display. Most of the text that Meshpass displays comes from other systems. */

// Control characters can move the cursor or end a log line. Bidirectional overrides change the order in which text is
// displayed.
const UNPRINTABLE = /[\p{Cc}\p{Cs}\p{Bidi_Control}\u2028\u2029]/u;
const EVERY_UNPRINTABLE = new RegExp(UNPRINTABLE, 'gu');

/** Whether text is safe to print. It must not contain control characters, line breaks or bidirectional overrides. */
export function isPlainText(text: string): boolean {
  return !UNPRINTABLE.test(text);
}

/** Replaces each unsafe character with U+FFFD. */
export function plainText(text: string): string {
  return text.replace(EVERY_UNPRINTABLE, '\ufffd');
}

/** Text with a colour, which is the parameter of an SGR escape sequence, such as `31` for red. */
export interface ColouredText {
  readonly text: string;
  readonly colour: string;
}

/** A line for a terminal: either plain text, or a list of segments that may be coloured. */
export type Line = string | readonly (string | ColouredText)[];

/**
 * Formats lines for a terminal or a CI log. The text of a line cannot end the line, move the cursor, or be interpreted
 * as a command by the CI system.
 * @param options.colour whether to apply colours
 * @example
 * ```ts
 * import { terminalText } from '@meshpass/identity';
 * terminalText(['route a\n::error::b', '  done']); // => 'route a\ufffd::error::b\n  done'
 * ```
 */
export function terminalText(lines: readonly Line[], { colour = false } = {}): string {
  return lines.map((line) => terminalLine(typeof line === 'string' ? [line] : line, colour)).join('\n');
}

function terminalLine(spans: readonly (string | ColouredText)[], colour: boolean): string {
  const printed = spans.map((span) => {
    if (typeof span === 'string') return plainText(span);
    const text = plainText(span.text);
    return colour ? `\u001b[${span.colour}m${text}\u001b[0m` : text;
  });
  return printed.join('').replace(COMMAND, '$1\ufffd').replace(EVERY_LOG_COMMAND, '##\ufffd');
}

// GitHub Actions executes lines that begin with `::`, even after spaces, and lines that contain `##[`. Azure Pipelines
// executes lines that contain `##vso[`.
// biome-ignore lint/suspicious/noControlCharactersInRegex: a colour may precede the command
const COMMAND = /^((?:\s|\u001b\[\d*m)*)(?=::)/;
const EVERY_LOG_COMMAND = /##(?=(?:vso)?\[)/gi;

/** Formats a value as indented JSON, and escapes all unsafe characters. */
export function printableJson(value: unknown): string {
  return JSON.stringify(value, null, 2).replace(EVERY_UNPRINTABLE, (character) =>
    character === '\n' ? character : `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/** Matches text that consists of PEM certificates only. */
export const PEM_CERTIFICATES = /^\s*(?:-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----\s*)+$/;

/**
 * Formats a duration as in the access file, in the largest unit that divides it evenly: `90s`, `30m`, `2h`.
 * @param seconds the duration, which must be a positive integer
 */
export function formatDuration(seconds: number): string {
  if (seconds % 3600 === 0) return `${seconds / 3600}h`;
  return seconds % 60 === 0 ? `${seconds / 60}m` : `${seconds}s`;
}
