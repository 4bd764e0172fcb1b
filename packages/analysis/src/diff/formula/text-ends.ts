/**
 * Classes of a text field that is tested at its beginning and its end, like server names, which are tested by port and
 * by host. Tests distinguish the whole text if one of them names it, and otherwise only its longest known beginning and
 * its longest known end. Beginning and end are independent, so the diagram has three fields: a hundred ports and a
 * thousand hosts need 1,100 classes, not 100,000. The whole text comes first and alone decides if it is known, so every
 * set has one form.
 */

import { away, type TextClasses } from './text-classes.ts';
import { createPrefixTest, createSuffixTest } from './text-search.ts';
import { passesTest, type TextDomain, type TextTest, textsOf } from './text-test.ts';

export interface TextEnds {
  /** Class 0: the missing text. Class 1: UNNAMED. Then each exact text of the tests. */
  readonly whole: TextClasses;
  /** Class 0: none of the beginnings. Like `end`, only meaningful if the whole is UNNAMED. */
  readonly beginning: TextClasses;
  readonly end: TextClasses;
  /**
   * Composes a text without an exact test.
   * @param beginning class of its beginning
   * @param end class of its end
   */
  readonly compose: (beginning: number, end: number) => string;
}

/** Class of texts without an exact test. */
export const UNNAMED = 1;
const MISSING = 0;

/**
 * Computes the classes.
 * @param tests tests without patterns
 * @param domain domain of an optional field; an empty text counts as missing unless it passes a test
 */
export function classifyEnds(tests: readonly TextTest[], domain: TextDomain): TextEnds {
  const texts = (form: TextTest['form']) => [...new Set(textsOf(tests, form))];
  // Every text begins and ends with the empty text, which distinguishes nothing.
  const [prefixes, suffixes] = [texts('prefix'), texts('suffix')].map((some) => some.filter((one) => one !== '')) as [
    string[],
    string[],
  ];
  const wholes = new Set([...texts('exact'), ...(tests.some((test) => passesTest(test, '')) ? [''] : [])]);
  const begins = createPrefixTest([...wholes, ...prefixes]);
  const ends = createSuffixTest(suffixes);
  const compose = (beginning: number, end: number): string => {
    const start = beginning === 0 ? '' : prefixes[beginning - 1]!;
    const last = end === 0 ? '' : suffixes[end - 1]!;
    const inside = start + away((more) => begins(start + more), domain.alphabet);
    return inside + away((more) => ends(more + last), domain.alphabet, inside) + last;
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
      const passed = named.filter(([text]) => passesTest(test, text)).map(([, number]) => number);
      return test.form === 'present' ? [UNNAMED, ...passed] : passed;
    },
    classOf: (value) => (value === undefined ? MISSING : (numbers.get(value) ?? (value === '' ? MISSING : UNNAMED))),
  };
}

/**
 * Groups texts by the longest listed text that they begin or end with.
 * @param listed non-empty texts
 */
function longestOf(
  form: 'prefix' | 'suffix',
  listed: readonly string[],
  example: (number: number) => string,
): TextClasses {
  const numbers = new Map(listed.map((text, index) => [text, index + 1]));
  const lengths = [...new Set(listed.map(({ length }) => length))].sort((a, b) => b - a);
  const part = (text: string, length: number) => (form === 'prefix' ? text.slice(0, length) : text.slice(-length));
  /** Numbers of the listed texts that a text begins or ends with, longest first. */
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
