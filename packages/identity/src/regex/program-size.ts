/**
 * Estimates the size of an RE2 program from the regular expression. A pattern of 30 characters can compile to millions
 * of instructions, and counting them exactly would take as long as compiling the pattern.
 */

const REPETITION = /^\{(\d+)(?:(,)(\d*))?\}/;

/**
 * Estimates the size of a program by multiplying counted repetitions.
 * @param pattern the pattern, which must not contain `\Q`
 * @param atomSize returns the number of instructions for the text of one character, escape or class
 * @returns an upper bound of RE2's program size, provided that `atomSize` returns an upper bound for each atom
 */
export function programSize(pattern: string, atomSize: (atom: string) => number): number {
  const outer: { size: number }[] = [];
  let size = 2;
  let last = 0;
  const add = (more: number): void => {
    size += more;
    last = more;
  };
  const repeat = (times: number): void => {
    const repeated = times * (last + 1) + 1;
    size += repeated - last;
    last = repeated;
  };
  const addAtom = (atom: string): void => {
    if (atom === '(') {
      outer.push({ size });
      size = 2;
      last = 0;
    } else if (atom === ')') {
      const inside = size + 1;
      size = outer.pop()?.size ?? 0;
      add(inside);
    } else if (atom === '*' || atom === '+' || atom === '?') repeat(1);
    else add(atom === '|' ? 2 : atomSize(atom));
  };
  for (let at = 0; at < pattern.length; ) {
    const repetition = REPETITION.exec(pattern.slice(at, at + 20));
    if (repetition) {
      const [text, least, , most] = repetition;
      repeat(Math.max(Number(least), Number(most ?? 0)) + 1);
      at += text.length;
      continue;
    }
    const end = atomEnd(pattern, at);
    addAtom(pattern.slice(at, end));
    at = end;
  }
  return size;
}

/** Returns the index after a character, an escape or a class. */
function atomEnd(pattern: string, at: number): number {
  if (pattern[at] === '[') return classEnd(pattern, at);
  return at + (pattern[at] === '\\' ? escapeLength(pattern, at) : 1);
}

function escapeLength(pattern: string, at: number): number {
  const braces = /^\\[px]\{[^}]*\}/i.exec(pattern.slice(at, at + 100));
  if (braces) return braces[0].length;
  return /p/i.test(pattern[at + 1] ?? '') ? 3 : 2;
}

/** Returns the index after the closing bracket of a class. */
function classEnd(pattern: string, start: number): number {
  let at = start + 1;
  if (pattern[at] === '^') at++;
  if (pattern[at] === ']') at++;
  while (at < pattern.length && pattern[at] !== ']') {
    if (pattern[at] === '\\') at++;
    else if (pattern.startsWith('[:', at)) at = Math.max(at, pattern.indexOf(':]', at));
    at++;
  }
  return at + 1;
}
