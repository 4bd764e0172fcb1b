/**
 * Classifies the values of a text field. Texts with the same results in a set of tests form one class, which is
 * represented by one example. No rule distinguishes texts in the same class, so comparing the examples covers all
 * texts.
 */
import { MeshpassError } from '@meshpass/identity';
import { exploreTexts } from './text-automaton.ts';
import { createPrefixTest, createSuffixTest } from './text-search.ts';
import { passesTest, type TextDomain, type TextTest, textsOf } from './text-test.ts';

/** Maximum number of classes per field. */
const MAX_CLASSES = 50_000;
/** Maximum total length of a field's examples, characters. */
const MAX_CHARACTERS = 8_000_000;

export interface TextClasses {
  /** Example for each class, or undefined for a missing field. Class 0 passes the fewest tests. */
  readonly examples: readonly (string | undefined)[];
  /** Returns the classes that pass a test. */
  readonly passing: (test: TextTest) => readonly number[];
  /** Returns the class of any text. */
  readonly classOf: (value: string | undefined) => number;
}

/**
 * Classifies all texts by the results of these tests.
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
  // The first text is the plainest one and becomes class 0.
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
 * Creates a function that returns the indexes of the tests that a text passes, in ascending order. Exact texts,
 * prefixes and suffixes are looked up in maps.
 */
function answersTo(tests: readonly TextTest[]): (value: string | undefined) => readonly number[] {
  const indexOf = (form: 'exact' | 'prefix' | 'suffix'): TextIndex => {
    const indexes = new Map(
      tests.flatMap((test, index) => (test.form === form && 'text' in test ? [[test.text, index] as const] : [])),
    );
    return { indexes, lengths: [...new Set([...indexes.keys()].map(({ length }) => length))] };
  };
  const [exact, prefixes, suffixes] = [indexOf('exact'), indexOf('prefix'), indexOf('suffix')];
  const others = tests.flatMap((test, index) =>
    test.form === 'present' || test.form === 'pattern' ? [[test, index] as const] : [],
  );
  return (value) => {
    if (value === undefined) return [];
    const passed = others.filter(([test]) => passesTest(test, value)).map(([, index]) => index);
    const add = (index: number | undefined) => index !== undefined && passed.push(index);
    add(exact.indexes.get(value));
    for (const length of prefixes.lengths)
      if (length <= value.length) add(prefixes.indexes.get(value.slice(0, length)));
    for (const length of suffixes.lengths)
      if (length <= value.length) add(suffixes.indexes.get(value.slice(value.length - length)));
    return passed.sort((a, b) => a - b);
  };
}

interface TextIndex {
  readonly indexes: ReadonlyMap<string, number>;
  /** Distinct lengths of the texts. */
  readonly lengths: readonly number[];
}

/**
 * Yields example texts for exact texts, prefixes and suffixes. The results for a text depend on whether it is one of
 * the exact texts, or otherwise on its longest prefix and its longest suffix. All cases are therefore covered by every
 * exact text and every pair of prefix and suffix.
 */
function* combine(tests: readonly TextTest[], domain: TextDomain): Generator<string> {
  const exacts = textsOf(tests, 'exact');
  const prefixes = textsOf(tests, 'prefix');
  const suffixes = textsOf(tests, 'suffix');
  const begins = createPrefixTest([...exacts, ...prefixes]);
  const ends = createSuffixTest(suffixes);
  /** Text to insert before a suffix so that it does not become part of a longer suffix, by the preceding character. */
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
 * Returns the shortest text that leaves a set of continuations.
 * @param taken existing text; if it has already left the set, nothing is added
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
