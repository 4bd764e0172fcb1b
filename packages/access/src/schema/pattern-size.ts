import { programSize } from '@meshpass/identity/regex/program-size';

/** Size of a Unicode class such as `\p{L}`. Repetitions share its range table. */
const UNICODE_CLASS = 50;

/**
 * Returns an upper bound of a pattern's compiled size in RE2JS.
 * @param pattern anchored pattern without flags and `\Q` (see `isAnchored`)
 * @returns the number of instructions, where class tables count as instructions. Never less than RE2JS creates
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
