/** Text for display, most of it from other systems. */

// Control characters move the cursor or end a log line; bidirectional overrides change the order in which text is shown.
const UNPRINTABLE = /[\p{Cc}\p{Cs}\p{Bidi_Control}\u2028\u2029]/u;
const EVERY_UNPRINTABLE = new RegExp(UNPRINTABLE, 'gu');

/** Whether a text can be printed safely: it contains no control character, line break or bidirectional override. */
export function isPlainText(text: string): boolean {
  return !UNPRINTABLE.test(text);
}

/** Replaces each unsafe character with U+FFFD. */
export function plainText(text: string): string {
  return text.replace(EVERY_UNPRINTABLE, '\ufffd');
}

/** Text in a colour, given as the parameter of an SGR escape sequence, such as `31` for red. */
export interface ColouredText {
  readonly text: string;
  readonly colour: string;
}

/** Line for a terminal: text, or texts of which some have a colour. */
export type Line = string | readonly (string | ColouredText)[];

/**
 * Composes lines for a terminal or a CI log. Text in a line can neither end it, nor move the cursor, nor become a
 * command of the CI system.
 * @param options.colour whether to apply colours
 * @example
 * ```ts
 * import { terminalText } from '@meshpass/identity/text';
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

/** Formats a value as indented JSON in which unsafe characters are escape sequences. */
export function printableJson(value: unknown): string {
  return JSON.stringify(value, null, 2).replace(EVERY_UNPRINTABLE, (character) =>
    character === '\n' ? character : `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/** Matches a text that consists only of PEM certificates. */
export const PEM_CERTIFICATES = /^\s*(?:-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----\s*)+$/;

/**
 * Formats a duration as in the access file, in the largest unit that divides it: `90s`, `30m`, `2h`.
 * @param seconds whole and positive
 */
export function formatDuration(seconds: number): string {
  if (seconds % 3600 === 0) return `${seconds / 3600}h`;
  return seconds % 60 === 0 ? `${seconds / 60}m` : `${seconds}s`;
}
