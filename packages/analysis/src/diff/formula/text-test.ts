/** How a policy compares a text: Istio's string forms, and the few patterns that are neither exact, prefix nor suffix. */

import { isTemplate, readTemplate, SEGMENT_CHARACTERS } from '@meshpass/istio';

/** A piece of a pattern: text as it stands, or what may stand there. */
export type Piece =
  | { readonly text: string }
  /** One path segment, not empty: `{*}`. */
  | { readonly any: 'segment' }
  /** Any rest of a path, also none: `{**}`. */
  | { readonly any: 'rest' }
  /** Any characters, also none. */
  | { readonly any: 'text' }
  /** Any characters but `/`, also none. */
  | { readonly any: 'label' };

export type TextTest =
  | { readonly form: 'exact' | 'prefix' | 'suffix'; readonly text: string }
  /** Not empty. */
  | { readonly form: 'present' }
  | { readonly form: 'pattern'; readonly pieces: readonly Piece[] };

/** What texts a field can have at all. */
export interface TextDomain {
  /** Every text begins with it: `/` for paths. */
  readonly start: string;
  /** Characters to make examples of; whatever is in the tests is added. */
  readonly alphabet: string;
  /** Shown wherever the tests do not tell it from another. */
  readonly usual?: string;
  /** Whether the field may be missing. */
  readonly optional: boolean;
}

/** `*`, `text*`, `*text`, or the text itself (Istio: "Authorization Policy", value matching). */
export function readText(value: string): TextTest {
  if (value === '*') return { form: 'present' };
  if (value.startsWith('*')) return { form: 'suffix', text: value.slice(1) };
  if (value.endsWith('*')) return { form: 'prefix', text: value.slice(0, -1) };
  return { form: 'exact', text: value };
}

/** As readText, and Istio's path templates. @returns undefined for a template that Envoy does not take: no path passes it */
export function readPath(value: string): TextTest | undefined {
  if (!isTemplate(value)) return readText(value);
  const pieces = readTemplate(value);
  return pieces && { form: 'pattern', pieces };
}

/** A text in which every `*` stands for any characters. */
export function readGlob(value: string, any: 'text' | 'label' = 'text'): TextTest {
  const parts = value.split('*');
  if (parts.length === 1) return { form: 'exact', text: value };
  const pieces = parts.flatMap((part, index): Piece[] => [
    ...(index > 0 ? [{ any }] : []),
    ...(part === '' ? [] : [{ text: part }]),
  ]);
  return { form: 'pattern', pieces };
}

/** Whether a text passes; a text that is not there passes none. */
export function passes(test: TextTest, value: string | undefined): boolean {
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
      return patternOf(test.pieces).test(value);
  }
}

/** As a person would write it. */
export function formatText(test: TextTest): string {
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
      return test.pieces.map((piece) => ('text' in piece ? piece.text : WRITTEN[piece.any])).join('');
  }
}

const WRITTEN = { segment: '{*}', rest: '{**}', text: '*', label: '*' } as const;

const expressions = new WeakMap<readonly Piece[], RegExp>();

function patternOf(pieces: readonly Piece[]): RegExp {
  let expression = expressions.get(pieces);
  if (!expression) {
    const source = pieces.map((piece) => ('text' in piece ? quoted(piece.text) : SOURCES[piece.any]));
    expression = new RegExp(`^${source.join('')}$`, 's');
    expressions.set(pieces, expression);
  }
  return expression;
}

const SOURCES = {
  segment: `[${SEGMENT_CHARACTERS}]+`,
  rest: `[${SEGMENT_CHARACTERS}/]*`,
  text: '.*',
  label: '[^/]*',
} as const;

function quoted(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&');
}
