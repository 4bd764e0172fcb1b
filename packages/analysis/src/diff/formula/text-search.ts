/** Checks whether texts with a given start or end exist. */

/**
 * Creates a function that checks whether a text is the start of one of the given texts. Unlike a set of all possible
 * starts, it does not need memory for each character.
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

/** Like `createPrefixTest`, but for the end of a text. */
export function createSuffixTest(texts: Iterable<string>): (end: string) => boolean {
  const begins = createPrefixTest([...texts].map(reversed));
  return (end) => begins(reversed(end));
}

function reversed(text: string): string {
  return text.split('').reverse().join('');
}
