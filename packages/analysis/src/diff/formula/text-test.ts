/**
 * Defines the text tests that policies use: Istio's string matches, and the few patterns that are not exact, prefix or
 * suffix matches.
 */

import { isTemplate, readTemplate } from '@meshpass/istio';
import { formatPiece, matchesPattern, type Piece } from './pattern.ts';

export type { Piece };

export type TextTest =
  | { readonly form: 'exact' | 'prefix' | 'suffix'; readonly text: string }
  /** Matches any text that is not empty. */
  | { readonly form: 'present' }
  | { readonly form: 'pattern'; readonly pieces: readonly Piece[] };

/** Describes which texts a field can contain. */
export interface TextDomain {
  /** The prefix that all texts have in common, such as `/` for paths. */
  readonly start: string;
  /** The characters that examples may contain in addition to the ones in the tests. */
  readonly alphabet: string;
  /** The preferred example. It is used unless a test can tell it apart from other texts. */
  readonly usual?: string;
  /** Whether the field may be missing from a call. */
  readonly optional: boolean;
}

/** Lists the texts of all tests of a given form. */
export function textsOf(tests: readonly TextTest[], form: TextTest['form']): readonly string[] {
  return tests.flatMap((test) => (test.form === form && 'text' in test ? [test.text] : []));
}

/** Parses `*`, `text*`, `*text` or an exact text (see "value matching" in Istio's Authorization Policy reference). */
export function parseTextTest(value: string): TextTest {
  if (value === '*') return { form: 'present' };
  if (value.startsWith('*')) return { form: 'suffix', text: value.slice(1) };
  if (value.endsWith('*')) return { form: 'prefix', text: value.slice(0, -1) };
  return { form: 'exact', text: value };
}

/**
 * Parses a path in the same way as `parseTextTest`, but also supports Istio's path templates.
 * @returns the test, or undefined if Envoy rejects the template, in which case no path passes
 */
export function parsePathTest(value: string): TextTest | undefined {
  if (!isTemplate(value)) return parseTextTest(value);
  const pieces = readTemplate(value);
  return pieces && { form: 'pattern', pieces };
}

/** Parses a glob, where each `*` matches any number of characters. */
export function parseGlob(value: string, any: 'text' | 'label' = 'text'): TextTest {
  const parts = value.split('*');
  if (parts.length === 1) return { form: 'exact', text: value };
  const pieces = parts.flatMap((part, index): Piece[] => [
    ...(index > 0 ? [{ any }] : []),
    ...(part === '' ? [] : [{ text: part }]),
  ]);
  return { form: 'pattern', pieces };
}

/** Whether a text passes a test. A missing text fails every test. */
export function passesTest(test: TextTest, value: string | undefined): boolean {
  if (value === undefined) return false;
  switch (test.form) {
    case 'exact':
      return value === test.text;
    case 'prefix':
      return value.startsWith(test.text);
    case 'suffix':
      return value.endsWith(test.text);
    case 'present':
      return value !== '';
    case 'pattern':
      return matchesPattern(test.pieces, value);
  }
}

/** Formats a test in policy notation. */
export function formatTextTest(test: TextTest): string {
  switch (test.form) {
    case 'exact':
      return test.text;
    case 'prefix':
      return `${test.text}*`;
    case 'suffix':
      return `*${test.text}`;
    case 'present':
      return '*';
    case 'pattern':
      return test.pieces.map(formatPiece).join('');
  }
}
