/** Searches lists of texts by their starts and ends. */

/**
 * Creates a function that checks whether any of the given texts starts with a string. Unlike a set of all possible
 * starts, it does not need additional memory for every character.
 */
export function createPrefixTest(texts: Iterable<string>): (beginning: string) => boolean {
  const sorted = [...texts].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
  return (beginning) => {
    let [from, to] = [0, sorted.length];
    while (from < to) {
      const middle = (from + to) >> 1;
      if (sorted[middle]! < beginning) from = middle + 1;
      else to = middle;
    }
    return sorted[from]?.startsWith(beginning) ?? false;
  };
}

/** Creates a function that checks whether any of the given texts ends with a string. */
export function createSuffixTest(texts: Iterable<string>): (end: string) => boolean {
  const begins = createPrefixTest([...texts].map(reversed));
  return (end) => begins(reversed(end));
}

/**
 * Creates a function that returns the indexes of all listed texts that a text starts or ends with, longest first. It
 * looks up one part of the text for each length that a listed text has.
 */
export function createAffixSearch(form: 'prefix' | 'suffix', listed: readonly string[]): (text: string) => number[] {
  const indexes = new Map(listed.map((text, index) => [text, index]));
  const lengths = [...new Set(listed.map(({ length }) => length))].sort((a, b) => b - a);
  return (text) =>
    lengths.flatMap((length) => {
      if (length > text.length) return [];
      return indexes.get(form === 'prefix' ? text.slice(0, length) : text.slice(text.length - length)) ?? [];
    });
}

function reversed(text: string): string {
  return text.split('').reverse().join('');
}
