/** Finds texts with a given beginning or end. */

/**
 * Creates a function that tells whether a text is the beginning of one of the given texts. Unlike a set of all
 * beginnings, it needs no memory for each character.
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

/** Like `createPrefixTest`, for the ends of texts. */
export function createSuffixTest(texts: Iterable<string>): (end: string) => boolean {
  const begins = createPrefixTest([...texts].map(reversed));
  return (end) => begins(reversed(end));
}

function reversed(text: string): string {
  return text.split('').reverse().join('');
}
