/**
 * Finds matches that no single call can satisfy together, so that the formulas of their routes do not have to exclude
 * each other.
 */
import { memoize } from '@meshpass/identity';
import { compare } from '@meshpass/istio/members';
import type { Condition } from '../diff/formula/condition.ts';
import type { TextTest } from '../diff/formula/text-test.ts';
import { impliedTestResult } from './text-match.ts';

/**
 * Checks whether a call could satisfy both conditions. Only exact texts and prefixes of individual fields are compared.
 */
export function mayOverlap(one: Condition, other: Condition): boolean {
  const [some, others] = [requiredTextTests(one), requiredTextTests(other)];
  return some.some((first) => others.some((second) => !areDisjoint(first, second)));
}

/** The text tests that must all pass, by field. */
type Required = ReadonlyMap<string, TextTest>;

/** Lists the text tests that each alternative of a condition requires. */
export const requiredTextTests = memoize((condition: Condition): readonly Required[] =>
  (condition.op === 'any' ? condition.of : [condition]).map((one) => {
    const required = new Map<string, TextTest>();
    for (const part of one.op === 'all' ? one.of : [one]) {
      if (part.op === 'text' && !required.has(part.field)) required.set(part.field, part.test);
    }
    return required;
  }),
);

function areDisjoint(one: Required, other: Required): boolean {
  for (const [field, test] of one) {
    const against = other.get(field);
    if (against && (impliedTestResult(test, against) === false || impliedTestResult(against, test) === false))
      return true;
  }
  return false;
}

/** An index that finds conditions by the paths they could match. */
export interface PathIndex {
  /** Lists the positions of the conditions that a call with the given path could satisfy, in order. */
  readonly at: (path: string) => readonly number[];
  /**
   * Lists the positions before `position` whose conditions a call could satisfy at the same time as the one at
   * `position`.
   */
  readonly before: (position: number) => readonly number[];
}

/** Indexes conditions by the exact paths and path prefixes that they require. */
export function indexPaths(conditions: readonly Condition[]): PathIndex {
  const open = new Set<number>();
  const byText = new Map<string, number[]>();
  for (const [position, condition] of conditions.entries()) {
    for (const test of pathsOf(condition)) {
      if (test === undefined) open.add(position);
      else if (byText.get(test.text)?.push(position) === undefined) byText.set(test.text, [position]);
    }
  }
  const sorted = [...byText.keys()].sort(compare);
  const withPrefix = (prefix: string) => {
    const found: number[] = [];
    for (let next = firstFrom(sorted, prefix); sorted[next]?.startsWith(prefix); next++) {
      found.push(...byText.get(sorted[next]!)!);
    }
    return found;
  };
  const ofPrefixes = (text: string) => {
    const found: number[] = [];
    for (let length = 0; length <= text.length; length++) found.push(...(byText.get(text.slice(0, length)) ?? []));
    return found;
  };
  const inOrder = (positions: Iterable<number>) => [...new Set(positions)].sort((a, b) => a - b);
  return {
    at: (path) => inOrder([...open, ...ofPrefixes(path)]),
    before: (position) => {
      const own = conditions[position]!;
      const paths = pathsOf(own);
      const near = paths.includes(undefined)
        ? conditions.keys()
        : [
            ...open,
            ...paths.flatMap((test) => [
              ...ofPrefixes(test!.text),
              ...(test!.form === 'prefix' ? withPrefix(test!.text) : []),
            ]),
          ];
      return inOrder(near).filter((other) => other < position && mayOverlap(conditions[other]!, own));
    },
  };
}

type PathTest = TextTest & { readonly form: 'exact' | 'prefix' };

/** Returns the path test of each alternative, or undefined for alternatives without an exact path or prefix. */
function pathsOf(condition: Condition): readonly (PathTest | undefined)[] {
  return requiredTextTests(condition).map((required) => {
    const test = required.get('path');
    return test?.form === 'exact' || test?.form === 'prefix' ? (test as PathTest) : undefined;
  });
}

function firstFrom(sorted: readonly string[], text: string): number {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle]! < text) low = middle + 1;
    else high = middle;
  }
  return low;
}
