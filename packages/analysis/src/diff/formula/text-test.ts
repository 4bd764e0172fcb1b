/** Text tests in policies: Istio's string forms, and the few patterns that are not exact, prefix or suffix matches. */

import { isTemplate, readTemplate } from '@meshpass/istio';
import { formatPiece, matchesPattern, type Piece } from './pattern.ts';

export type { Piece };

export type TextTest =
  | { readonly form: 'exact' | 'prefix' | 'suffix'; readonly text: string }
  /** Any non-empty text. */
  | { readonly form: 'present' }
  | { readonly form: 'pattern'; readonly pieces: readonly Piece[] };

/** Texts that are possible for a field. */
export interface TextDomain {
  /** Prefix that all texts have in common: `/` for paths. */
  readonly start: string;
  /** Characters that examples may contain in addition to those in the tests. */
  readonly alphabet: string;
  /** Preferred example, if no test distinguishes it from other texts. */
  readonly usual?: string;
  /** Whether the field may be missing. */
  readonly optional: boolean;
}

/** Lists the texts of all tests that have the given form. */
export function textsOf(tests: readonly TextTest[], form: TextTest['form']): readonly string[] {
  return tests.flatMap((test) => (test.form === form && 'text' in test ? [test.text] : []));
}

/** Parses `*`, `text*`, `*text`, or an exact text (Istio: "Authorization Policy", value matching). */
export function parseTextTest(value: string): TextTest {
  if (value === '*') return { form: 'present' };
  if (value.startsWith('*')) return { form: 'suffix', text: value.slice(1) };
  if (value.endsWith('*')) return { form: 'prefix', text: value.slice(0, -1) };
  return { form: 'exact', text: value };
}

/**
 * Parses a path like `parseTextTest`, but also supports Istio's path templates.
 * @returns undefined if Envoy rejects the template, so that no path passes
 */
export function parsePathTest(value: string): TextTest | undefined {
  if (!isTemplate(value)) return parseTextTest(value);
  const pieces = readTemplate(value);
  return pieces && { form: 'pattern', pieces };
}

/** Parses a glob, in which every `*` matches any number of characters. */
export function parseGlob(value: string, any: 'text' | 'label' = 'text'): TextTest {
  const parts = value.split('*');
  if (parts.length === 1) return { form: 'exact', text: value };
  const pieces = parts.flatMap((part, index): Piece[] => [
    ...(index > 0 ? [{ any }] : []),
    ...(part === '' ? [] : [{ text: part }]),
  ]);
  return { form: 'pattern', pieces };
}

/** Whether a text passes a test. A missing text does not pass any test. */
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
