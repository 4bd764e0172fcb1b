/** Text that a person will read, most of it from elsewhere. */

// Control characters move a terminal's cursor and end a line of a log; bidirectional overrides show text in another order.
const UNPRINTABLE = /[\p{Cc}\p{Cs}\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/u;
const EVERY_UNPRINTABLE = new RegExp(UNPRINTABLE, 'gu');

/** Whether a text may be printed as it is: no control character, no line break, nothing that turns its direction. */
export function isPlainText(text: string): boolean {
  return !UNPRINTABLE.test(text);
}

/** The text with a replacement character for each that may not be printed. */
export function plainText(text: string): string {
  return text.replace(EVERY_UNPRINTABLE, '\ufffd');
}

/** PEM of certificates, and nothing else. */
export const CERTIFICATES = /^\s*(?:-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----\s*)+$/;

/**
 * @param seconds whole and positive
 * @returns as the access file writes it, in the largest unit that has no rest: `90s`, `30m`, `2h`
 */
export function durationText(seconds: number): string {
  if (seconds % 3600 === 0) return `${seconds / 3600}h`;
  return seconds % 60 === 0 ? `${seconds / 60}m` : `${seconds}s`;
}
