/** Sanitizes untrusted text for storage. */

/** Replaces any characters that PostgreSQL's `text` type cannot store. */
export function toStorableText(value: string): string {
  return value.isWellFormed() && !value.includes('\0') ? value : value.toWellFormed().replaceAll('\0', '\ufffd');
}
