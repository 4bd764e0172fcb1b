/** Checks whether a list contains a text with a given start or end. */

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

function reversed(text: string): string {
  return text.split('').reverse().join('');
}
