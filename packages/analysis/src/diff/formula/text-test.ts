/** Text tests of policies: Istio's string forms, and the few patterns that are neither exact, prefix nor suffix. */

import { isTemplate, readTemplate } from '@meshpass/istio';
import { formatPiece, matchesPattern, type Piece } from './pattern.ts';

export type { Piece };

export type TextTest =
  | { readonly form: 'exact' | 'prefix' | 'suffix'; readonly text: string }
  /** Not empty. */
  | { readonly form: 'present' }
  | { readonly form: 'pattern'; readonly pieces: readonly Piece[] };

/** Possible texts of a field. */
export interface TextDomain {
  /** Common prefix of all texts: `/` for paths. */
  readonly start: string;
  /** Characters that examples may use in addition to those in the tests. */
  readonly alphabet: string;
  /** Preferred example if the tests do not distinguish it from others. */
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
 * Parses a path like `readText`, including Istio's path templates.
 * @returns undefined for a template that Envoy rejects, so that no path passes
 */
export function parsePathTest(value: string): TextTest | undefined {
  if (!isTemplate(value)) return parseTextTest(value);
  const pieces = readTemplate(value);
  return pieces && { form: 'pattern', pieces };
}

/** Parses a text in which every `*` stands for any characters. */
export function parseGlob(value: string, any: 'text' | 'label' = 'text'): TextTest {
  const parts = value.split('*');
  if (parts.length === 1) return { form: 'exact', text: value };
  const pieces = parts.flatMap((part, index): Piece[] => [
    ...(index > 0 ? [{ any }] : []),
    ...(part === '' ? [] : [{ text: part }]),
  ]);
  return { form: 'pattern', pieces };
}

/** Whether a text passes. A missing text passes no test. */
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
