/** The documents of a YAML text, and what makes one too large to be read. */

/** Of one document in it: Kubernetes stores no object of more than 1.5 MiB; this is for Lists. */
const MAX_DOCUMENT = 8 * 1024 * 1024;
/** Every value of a document costs at least one of these characters, and about 200 bytes of memory while it is read. */
const SEPARATORS = /[[\]{},\n?:-]/g;
const MAX_SEPARATORS = 1_500_000;

/** Kubernetes' own tools cut a text in the same way, so a document means here what it means to them. */
export function* cutDocuments(text: string): Generator<{ readonly start: number; readonly end: number }> {
  const boundary = /^---(?=\s|$)/gm;
  let start = 0;
  for (let found = boundary.exec(text); found; found = boundary.exec(text)) {
    if (found.index > start) yield { start, end: found.index };
    start = found.index;
  }
  yield { start, end: text.length };
}

/** Why one document of this text is not read, by its size alone. */
export function exceedsBounds(text: string): string | undefined {
  if (text.length > MAX_DOCUMENT) return `a document is larger than ${MAX_DOCUMENT >> 20} MiB`;
  if (text.length <= MAX_SEPARATORS) return undefined;
  return count(text, SEPARATORS) > MAX_SEPARATORS ? 'a document holds too many values' : undefined;
}

export function count(text: string, what: string | RegExp): number {
  let found = 0;
  if (typeof what === 'string') {
    for (let at = text.indexOf(what); at >= 0; at = text.indexOf(what, at + 1)) found++;
  } else while (what.test(text)) found++;
  return found;
}
