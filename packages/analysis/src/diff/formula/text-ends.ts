/**
 * The values of a text field that is tested by how it begins and how it ends, as server names are: by port and by host. What tests tell
 * apart is then the whole text where a test names it, and otherwise its longest known beginning and its longest known end. Both
 * are free of each other, so they are three fields to the diagram: a hundred ports and a thousand hosts are 1,100 classes and
 * not 100,000. The whole comes first, and decides alone where it is known: then every set has one form.
 */

import { away, beginningsOf, endsOf, type TextClasses } from './text-classes.ts';
import { passes, type TextDomain, type TextTest } from './text-test.ts';

export interface TextEnds {
  /** Class 0: the missing text; UNNAMED; and each text that a test names whole. */
  readonly whole: TextClasses;
  /** Class 0: none of the beginnings. Means something only where the whole is UNNAMED, as `end` does. */
  readonly beginning: TextClasses;
  readonly end: TextClasses;
  /** A text that is not named whole. @param beginning @param end their classes */
  readonly compose: (beginning: number, end: number) => string;
}

/** Class of texts that no test names whole. */
export const UNNAMED = 1;
const MISSING = 0;

/**
 * @param tests without patterns
 * @param domain of a field that may be missing; an empty text is a missing one, unless a test passes it
 */
export function classifyEnds(tests: readonly TextTest[], domain: TextDomain): TextEnds {
  const texts = (form: TextTest['form']) => [
    ...new Set(tests.flatMap((test) => (test.form === form && 'text' in test ? [test.text] : []))),
  ];
  // Every text begins and ends with the empty one, which is none to tell apart by.
  const [prefixes, suffixes] = [texts('prefix'), texts('suffix')].map((some) => some.filter((one) => one !== '')) as [
    string[],
    string[],
  ];
  const wholes = new Set([...texts('exact'), ...(tests.some((test) => passes(test, '')) ? [''] : [])]);
  const started = new Set([...wholes, ...prefixes].flatMap(beginningsOf));
  const ended = new Set(suffixes.flatMap(endsOf));
  const compose = (beginning: number, end: number): string => {
    const start = beginning === 0 ? '' : prefixes[beginning - 1]!;
    const last = end === 0 ? '' : suffixes[end - 1]!;
    const inside = start + away((more) => started.has(start + more), domain.alphabet);
    return inside + away((more) => ended.has(more + last), domain.alphabet, inside) + last;
  };
  return {
    compose,
    whole: wholeTexts([...wholes], compose(0, 0)),
    beginning: longestOf('prefix', prefixes, (one) => compose(one, 0)),
    end: longestOf('suffix', suffixes, (one) => compose(0, one)),
  };
}

function wholeTexts(wholes: readonly string[], other: string): TextClasses {
  const numbers = new Map(wholes.map((text, index) => [text, index + 2]));
  const named = [...numbers];
  return {
    examples: [undefined, other, ...wholes],
    passing: (test) => {
      if (test.form === 'exact') return [numbers.get(test.text)!];
      const passed = named.filter(([text]) => passes(test, text)).map(([, number]) => number);
      return test.form === 'present' ? [UNNAMED, ...passed] : passed;
    },
    classOf: (value) => (value === undefined ? MISSING : (numbers.get(value) ?? (value === '' ? MISSING : UNNAMED))),
  };
}

/** Classes by the longest text of a list with which a text begins, or ends. @param listed none of them empty */
function longestOf(
  form: 'prefix' | 'suffix',
  listed: readonly string[],
  example: (number: number) => string,
): TextClasses {
  const numbers = new Map(listed.map((text, index) => [text, index + 1]));
  const lengths = [...new Set(listed.map(({ length }) => length))].sort((a, b) => b - a);
  const part = (text: string, length: number) => (form === 'prefix' ? text.slice(0, length) : text.slice(-length));
  /** Numbers of those with which a text begins, or ends; the longest first. */
  const within = (text: string) =>
    lengths.flatMap((length) => (length > text.length ? [] : (numbers.get(part(text, length)) ?? [])));
  const passed = listed.map((): number[] => []);
  listed.forEach((text, index) => {
    for (const number of within(text)) passed[number - 1]!.push(index + 1);
  });
  const all = [0, ...numbers.values()];
  return {
    examples: all.map(example),
    passing: (test) => {
      if (test.form !== form) return [];
      return test.text === '' ? all : passed[numbers.get(test.text)! - 1]!;
    },
    classOf: (value = '') => within(value)[0] ?? 0,
  };
}
