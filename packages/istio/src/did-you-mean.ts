/** Suggests corrections for mistyped words. */

/**
 * Formats a suggestion such as ` (did you mean "allow"?)`. Returns an empty string if none is similar.
 * @example
 * ```ts
 * import { didYouMean } from '@meshpass/istio';
 * didYouMean('allwo', ['allow', 'deny']); // => ' (did you mean "allow"?)'
 * ```
 */
export function didYouMean(word: string, candidates: Iterable<string>): string {
  const candidate = nearest(word, candidates);
  return candidate === undefined ? '' : ` (did you mean "${candidate}"?)`;
}

/**
 * Finds the candidate with the smallest edit distance to a word. The distance may be at most a third of the word's
 * length.
 * @param word the word as it was written
 * @param candidates the words that are accepted
 * @example
 * ```ts
 * import { nearest } from '@meshpass/istio';
 * nearest('allwo', ['allow', 'deny']); // => 'allow'
 * nearest('audit', ['allow', 'deny']); // => undefined
 * ```
 */
export function nearest(word: string, candidates: Iterable<string>): string | undefined {
  const limit = Math.max(1, Math.floor(word.length / 3));
  let best: { readonly candidate: string; readonly distance: number } | undefined;
  for (const candidate of candidates) {
    if (Math.abs(candidate.length - word.length) > limit) continue;
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (distance <= limit && (!best || distance < best.distance)) best = { candidate, distance };
  }
  return best?.candidate;
}

/**
 * Computes the optimal string alignment distance. Swapping two adjacent characters, which is a common typo, counts as a
 * single edit.
 */
function editDistance(a: string, b: string): number {
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, j) => j)];
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = rows[i - 1]![j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      let cost = Math.min(rows[i - 1]![j]! + 1, row[j - 1]! + 1, change);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        cost = Math.min(cost, rows[i - 2]![j - 2]! + 1);
      row.push(cost);
    }
    rows.push(row);
  }
  return rows[a.length]![b.length]!;
}
