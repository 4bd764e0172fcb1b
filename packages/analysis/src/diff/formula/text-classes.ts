/**
 * Classes of a text field's values: texts with the same results in a set of tests form one class, which has one
 * example. No rule distinguishes between texts of the same class, so comparing the examples compares all texts.
 */
import { exploreTexts } from './text-automaton.ts';
import { passes, type TextDomain, type TextTest, textsOf } from './text-test.ts';

export interface TextClasses {
  /** Example of each class, or undefined for a missing field. Class 0 passes the fewest tests. */
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
export function classify(tests: readonly TextTest[], domain: TextDomain): TextClasses {
  const distinct = [...new Map(tests.map((test) => [keyOf(test), test])).values()];
  const found = distinct.some(({ form }) => form === 'pattern')
    ? exploreTexts(distinct, domain)
    : combine(distinct, domain);
  const answers = answersTo(distinct);
  const numbers = new Map<string, number>();
  const examples: (string | undefined)[] = [];
  const passed: number[][] = distinct.map(() => []);
  const add = (value: string | undefined): void => {
    const answer = answers(value);
    const key = answer.join();
    if (numbers.has(key)) return;
    const number = examples.push(value) - 1;
    numbers.set(key, number);
    for (const test of answer) passed[test]!.push(number);
  };
  // The first and plainest text becomes class 0.
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
 * Creates a function that returns the indexes of the tests that a text passes, ascending. Looks up exact tests in a
 * map.
 */
function answersTo(tests: readonly TextTest[]): (value: string | undefined) => readonly number[] {
  const exact = new Map<string, number>();
  const others: [TextTest, number][] = [];
  tests.forEach((test, index) => {
    if (test.form === 'exact') exact.set(test.text, index);
    else others.push([test, index]);
  });
  return (value) => {
    if (value === undefined) return [];
    const passed = others.filter(([test]) => passes(test, value)).map(([, index]) => index);
    const index = exact.get(value);
    return index === undefined ? passed : [...passed, index].sort((a, b) => a - b);
  };
}

/**
 * Yields example texts for exact texts, prefixes and suffixes. The results for a text depend on whether it is one of
 * the exact texts, and otherwise on its longest prefix and longest suffix. Trying every exact text and every pair of
 * prefix and suffix therefore covers all cases.
 */
function* combine(tests: readonly TextTest[], domain: TextDomain): Generator<string> {
  const exacts = textsOf(tests, 'exact');
  const prefixes = textsOf(tests, 'prefix');
  const suffixes = textsOf(tests, 'suffix');
  const beginnings = new Set([...exacts, ...prefixes].flatMap(beginningsOf));
  const ends = new Set(suffixes.flatMap(endsOf));
  const starts = [domain.start, ...prefixes.filter((prefix) => prefix.startsWith(domain.start))];
  for (const start of starts) {
    const inside = start + away((more) => beginnings.has(start + more), domain.alphabet);
    for (const end of ['', ...suffixes]) {
      yield inside + away((more) => ends.has(more + end), domain.alphabet, inside) + end;
    }
  }
  yield* exacts.filter((text) => text.startsWith(domain.start));
}

/**
 * Returns the shortest text that leads out of a set of continuations.
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

/** Returns all non-empty prefixes of a text, shortest first. */
export function beginningsOf(text: string): string[] {
  return Array.from({ length: text.length }, (_, index) => text.slice(0, index + 1));
}

/** Returns all non-empty suffixes of a text, longest first. */
export function endsOf(text: string): string[] {
  return Array.from({ length: text.length }, (_, index) => text.slice(index));
}

function keyOf(test: TextTest): string {
  return JSON.stringify(test);
}
