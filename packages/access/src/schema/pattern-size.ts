import { programSize } from '@meshpass/identity';

/** The size of a Unicode class such as `\p{L}`. If the class is repeated, all repetitions share its range table. */
const UNICODE_CLASS = 50;

/**
 * Returns an upper bound for the compiled size of a pattern in RE2JS.
 * @param pattern an anchored pattern that contains no flags and no `\Q` (see `isAnchored`)
 * @returns the number of instructions, including class tables. It is never lower than the number that RE2JS creates
 */
export function patternSize(pattern: string): number {
  let tables = 0;
  const size = programSize(pattern, (atom) => {
    if (atom.startsWith('[')) tables += atom.length + UNICODE_CLASS * atom.split(/\\p/i).length;
    else if (/^\\p/i.test(atom)) tables += UNICODE_CLASS;
    return 1;
  });
  return size + tables;
}
