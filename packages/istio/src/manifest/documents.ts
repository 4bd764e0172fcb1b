/** Splits YAML text into documents, and limits how large they can be. */

/**
 * The maximum size of a document in characters. Kubernetes does not store objects larger than 1.5 MiB, but a document
 * may be a List of many objects.
 */
const MAX_DOCUMENT = 8 * 1024 * 1024;
/**
 * The characters that separate values. A document has at least one of them for each value, and each value uses about
 * 200 bytes of memory after parsing.
 */
const SEPARATORS = /[[\]{},\n?:-]/g;
const MAX_SEPARATORS = 1_500_000;

/** Splits text into documents by the same rule as Kubernetes' own tools, so that both find the same documents. */
export function* cutDocuments(text: string): Generator<{ readonly start: number; readonly end: number }> {
  const boundary = /^---(?=\s|$)/gm;
  let start = 0;
  for (let found = boundary.exec(text); found; found = boundary.exec(text)) {
    if (found.index > start) yield { start, end: found.index };
    start = found.index;
  }
  yield { start, end: text.length };
}

/** Explains why a document is too large to parse, or returns undefined if it is not. */
export function whyTooLarge(text: string): string | undefined {
  if (text.length > MAX_DOCUMENT) return `a document is larger than ${MAX_DOCUMENT >> 20} MiB`;
  if (text.length <= MAX_SEPARATORS) return undefined;
  return countOccurrences(text, SEPARATORS) > MAX_SEPARATORS ? 'a document contains too many values' : undefined;
}

/** Counts the occurrences of a string or a global pattern. */
export function countOccurrences(text: string, what: string | RegExp): number {
  let found = 0;
  if (typeof what === 'string') {
    for (let at = text.indexOf(what); at >= 0; at = text.indexOf(what, at + 1)) found++;
  } else while (what.test(text)) found++;
  return found;
}
