/**
 * Divides the values of a text field into classes if tests look at both its start and its end. For example, policies
 * test server names by port and by host. If a test names the whole text, only that test matters. Otherwise, tests can
 * only tell apart its longest known start and its longest known end. The two are independent, so the diagram has three
 * fields: a hundred ports and a thousand hosts need 1,100 classes instead of 100,000. The field for the whole text
 * comes first and takes precedence if the text is known, so that every set has only one representation.
 */

import { away, type TextClasses } from './text-classes.ts';
import { createAffixSearch, createPrefixTest, createSuffixTest } from './text-search.ts';
import { passesTest, type TextDomain, type TextTest, textsOf } from './text-test.ts';

export interface TextEnds {
  /**
   * The classes of whole texts. Class 0 is a missing text and class 1 is UNNAMED, followed by the exact texts in the
   * tests.
   */
  readonly whole: TextClasses;
  /**
   * The classes of text beginnings. Class 0 contains all beginnings that are not listed. Like `end`, this is only
   * meaningful if the whole text is UNNAMED.
   */
  readonly beginning: TextClasses;
  readonly end: TextClasses;
  /**
   * Composes a text that no exact test names.
   * @param beginning the class of the text's start
   * @param end the class of the text's end
   */
  readonly compose: (beginning: number, end: number) => string;
}

/** The class of all texts that no exact test names. */
export const UNNAMED = 1;
const MISSING = 0;

/**
 * Divides all texts into classes by their starts and ends.
 * @param tests the tests, which must not contain patterns
 * @param domain the domain of an optional field, where an empty text counts as missing unless a test accepts it
 */
export function classifyEnds(tests: readonly TextTest[], domain: TextDomain): TextEnds {
  const texts = (form: TextTest['form']) => [...new Set(textsOf(tests, form))];
  // Every text starts and ends with the empty text, so an empty prefix or suffix does not tell any texts apart.
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
 * Divides texts into classes by the longest listed text that they start or end with.
 * @param listed the texts, none of which may be empty
 */
function longestOf(
  form: 'prefix' | 'suffix',
  listed: readonly string[],
  example: (number: number) => string,
): TextClasses {
  const numbers = new Map(listed.map((text, index) => [text, index + 1]));
  const find = createAffixSearch(form, listed);
  const passed = listed.map((): number[] => []);
  for (const [index, text] of listed.entries()) for (const at of find(text)) passed[at]!.push(index + 1);
  const all = [0, ...numbers.values()];
  return {
    examples: all.map(example),
    passing: (test) => {
      if (test.form !== form) return [];
      return test.text === '' ? all : passed[numbers.get(test.text)! - 1]!;
    },
    classOf: (value = '') => (find(value)[0] ?? -1) + 1,
  };
}
