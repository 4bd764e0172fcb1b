/** Text for display, most of it from other systems. */

// Control characters move the cursor or end a log line; bidirectional overrides change the order in which text is shown.
const UNPRINTABLE = /[\p{Cc}\p{Cs}\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/u;
const EVERY_UNPRINTABLE = new RegExp(UNPRINTABLE, 'gu');

/** Whether a text can be printed safely: it contains no control character, line break or bidirectional override. */
export function isPlainText(text: string): boolean {
  return !UNPRINTABLE.test(text);
}

/** Replaces each unsafe character with U+FFFD. */
export function plainText(text: string): string {
  return text.replace(EVERY_UNPRINTABLE, '\ufffd');
}

/** Matches a text that consists only of PEM certificates. */
export const CERTIFICATES = /^\s*(?:-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----\s*)+$/;

/**
 * Formats a duration as in the access file, in the largest unit that divides it: `90s`, `30m`, `2h`.
 * @param seconds whole and positive
 */
export function durationText(seconds: number): string {
  if (seconds % 3600 === 0) return `${seconds / 3600}h`;
  return seconds % 60 === 0 ? `${seconds / 60}m` : `${seconds}s`;
}
