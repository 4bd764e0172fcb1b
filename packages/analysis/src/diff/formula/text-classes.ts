/**
 * Divides the values of a text field into classes. Texts with the same results in all tests form one class, which is
 * represented by an example. Rules cannot tell apart texts in the same class, so comparing the examples covers all
 * texts.
 */
import { MeshpassError } from '@meshpass/identity';
import { exploreTexts } from './text-automaton.ts';
import { createAffixSearch, createPrefixTest, createSuffixTest } from './text-search.ts';
import { passesTest, type TextDomain, type TextTest, textsOf } from './text-test.ts';

/** The maximum number of classes that a field may have. */
const MAX_CLASSES = 50_000;
/** The maximum total length of a field's examples, in characters. */
const MAX_CHARACTERS = 8_000_000;

export interface TextClasses {
  /** An example for each class, or undefined for the class of missing values. Class 0 passes the fewest tests. */
  readonly examples: readonly (string | undefined)[];
  /** Returns the classes whose texts pass a test. */
  readonly passing: (test: TextTest) => readonly number[];
  /** Returns the class that a text belongs to. */
  readonly classOf: (value: string | undefined) => number;
}

/**
 * Divides all texts into classes by their results in the given tests.
 * @throws MeshpassError `policy_too_large`
 */
export function classifyTexts(tests: readonly TextTest[], domain: TextDomain): TextClasses {
  const distinct = [...new Map(tests.map((test) => [keyOf(test), test])).values()];
  const found = distinct.some(({ form }) => form === 'pattern')
    ? exploreTexts(distinct, domain)
    : combine(distinct, domain);
  const answers = answersTo(distinct);
  const numbers = new Map<string, number>();
  const examples: (string | undefined)[] = [];
  const passed: number[][] = distinct.map(() => []);
  let characters = 0;
  const add = (value: string | undefined): void => {
    const answer = answers(value);
    const key = answer.join();
    if (numbers.has(key)) return;
    characters += value?.length ?? 0;
    if (examples.length >= MAX_CLASSES || characters > MAX_CHARACTERS)
      throw new MeshpassError('policy_too_large', 'There are too many texts, or they are too long, to compare.');
    const number = examples.push(value) - 1;
    numbers.set(key, number);
    for (const test of answer) passed[test]!.push(number);
  };
  // The plainest text comes first, so its class becomes class 0.
  for (const value of found) add(value);
  if (domain.optional) add(undefined);
  const usual = domain.usual === undefined ? undefined : numbers.get(answers(domain.usual).join());
  if (usual !== undefined) examples[usual] = domain.usual;
  const byKey = new Map(distinct.map((test, index) => [keyOf(test), passed[index]!]));
  const byTest = new WeakMap<TextTest, readonly number[]>();
  return {
    examples,
    passing: (test) => {
      let numbersOf = byTest.get(test);
      if (!numbersOf) {
        numbersOf = byKey.get(keyOf(test))!;
        byTest.set(test, numbersOf);
      }
      return numbersOf;
    },
    classOf: (value) => numbers.get(answers(value).join()) ?? 0,
  };
}

/**
 * Creates a function that returns the indexes of the tests that a text passes, in ascending order. Uses maps to look up
 * exact texts, prefixes and suffixes.
 */
function answersTo(tests: readonly TextTest[]): (value: string | undefined) => readonly number[] {
  const indexed = [...tests.entries()];
  const ofForm = (form: 'exact' | 'prefix' | 'suffix') =>
    indexed.flatMap(([index, test]) => (test.form === form ? [[test.text, index] as const] : []));
  const exact = new Map(ofForm('exact'));
  const affixes = (['prefix', 'suffix'] as const).map((form) => {
    const found = ofForm(form);
    const texts = found.map(([text]) => text);
    return { find: createAffixSearch(form, texts), indexes: found.map(([, index]) => index) };
  });
  const others = indexed.filter(([, { form }]) => form === 'present' || form === 'pattern');
  return (value) => {
    if (value === undefined) return [];
    const passed = others.filter(([, test]) => passesTest(test, value)).map(([index]) => index);
    const known = exact.get(value);
    if (known !== undefined) passed.push(known);
    for (const { find, indexes } of affixes) for (const at of find(value)) passed.push(indexes[at]!);
    return passed.sort((a, b) => a - b);
  };
}

/**
 * Yields examples for tests with exact texts, prefixes and suffixes. The results depend on whether a text is one of the
 * exact texts and, if it is not, on the longest prefix and the longest suffix that match. Every case is therefore
 * covered by the exact texts and by all pairs of a prefix and a suffix.
 */
function* combine(tests: readonly TextTest[], domain: TextDomain): Generator<string> {
  const exacts = textsOf(tests, 'exact');
  const prefixes = textsOf(tests, 'prefix');
  const suffixes = textsOf(tests, 'suffix');
  const begins = createPrefixTest([...exacts, ...prefixes]);
  const ends = createSuffixTest(suffixes);
  /**
   * The text to insert before a suffix to prevent a longer suffix from matching, by the preceding character and the
   * suffix.
   */
  const gaps = new Map<string, string>();
  const gap = (last: string, end: string): string => {
    const key = last + end;
    const found = gaps.get(key) ?? away((more) => ends(more + end), domain.alphabet, last);
    gaps.set(key, found);
    return found;
  };
  const starts = [domain.start, ...prefixes.filter((prefix) => prefix.startsWith(domain.start))];
  for (const start of starts) {
    const inside = start + away((more) => begins(start + more), domain.alphabet);
    for (const end of ['', ...suffixes]) {
      yield inside + gap(inside.at(-1)!, end) + end;
    }
  }
  yield* exacts.filter((text) => text.startsWith(domain.start));
}

/**
 * Returns the shortest text for which `stays` returns false.
 * @param taken the text that precedes it; if its last character is already enough, the result is empty
 */
export function away(stays: (more: string) => boolean, alphabet: string, taken = ''): string {
  if (taken !== '' && !stays(taken.at(-1)!)) return '';
  let tried = [''];
  for (;;) {
    const longer = tried.flatMap((text) => [...alphabet].map((character) => text + character));
    const free = longer.find((text) => !stays(text));
    if (free !== undefined) return free;
    tried = longer;
  }
}

function keyOf(test: TextTest): string {
  return JSON.stringify(test);
}
