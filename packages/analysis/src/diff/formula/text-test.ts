/** Text tests of policies: Istio's string forms, and the few patterns that are neither exact, prefix nor suffix. */

import { remembered } from '@meshpass/identity/memory/remembered';
import { isTemplate, readTemplate, SEGMENT_CHARACTERS } from '@meshpass/istio';

/** Piece of a pattern: literal text or a wildcard. */
export type Piece =
  | { readonly text: string }
  /** Path segment that is not empty: `{*}`. */
  | { readonly any: 'segment' }
  /** Rest of a path, possibly empty: `{**}`. */
  | { readonly any: 'rest' }
  /** Any characters, possibly none. */
  | { readonly any: 'text' }
  /** Any characters except `/`, possibly none. */
  | { readonly any: 'label' }
  /** Character of a class of regular expressions, such as `[0-9]`: one, or any number of them. */
  | { readonly class: string; readonly many: boolean };

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
export function readText(value: string): TextTest {
  if (value === '*') return { form: 'present' };
  if (value.startsWith('*')) return { form: 'suffix', text: value.slice(1) };
  if (value.endsWith('*')) return { form: 'prefix', text: value.slice(0, -1) };
  return { form: 'exact', text: value };
}

/**
 * Parses a path like `readText`, including Istio's path templates.
 * @returns undefined for a template that Envoy rejects, so that no path passes
 */
export function readPath(value: string): TextTest | undefined {
  if (!isTemplate(value)) return readText(value);
  const pieces = readTemplate(value);
  return pieces && { form: 'pattern', pieces };
}

/** Parses a text in which every `*` stands for any characters. */
export function readGlob(value: string, any: 'text' | 'label' = 'text'): TextTest {
  const parts = value.split('*');
  if (parts.length === 1) return { form: 'exact', text: value };
  const pieces = parts.flatMap((part, index): Piece[] => [
    ...(index > 0 ? [{ any }] : []),
    ...(part === '' ? [] : [{ text: part }]),
  ]);
  return { form: 'pattern', pieces };
}

/** Whether a text passes. A missing text passes no test. */
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
      return sizeOf(test.pieces) > MAX_REGEX ? covers(test.pieces, value) : patternOf(test.pieces).test(value);
  }
}

/** Formats a test in policy notation. */
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
      return test.pieces.map(formatPiece).join('');
  }
}

function formatPiece(piece: Piece): string {
  if ('text' in piece) return piece.text;
  return 'class' in piece ? `${piece.class}${piece.many ? '*' : ''}` : WRITTEN[piece.any];
}

const WRITTEN = { segment: '{*}', rest: '{**}', text: '*', label: '*' } as const;

/** Maximum size of a pattern that is compiled. V8 throws for regular expressions of a few times this size. */
const MAX_REGEX = 4000;
/** Approximate size of a wildcard in a compiled pattern. */
const WILDCARD_SIZE = 40;

const sizeOf = remembered((pieces: readonly Piece[]): number =>
  pieces.reduce((size, piece) => size + ('text' in piece ? piece.text.length : WILDCARD_SIZE), 0),
);

/** Matches a large pattern piece by piece, keeping all places in the text at which the pieces so far can end. */
function covers(pieces: readonly Piece[], value: string): boolean {
  let ends = new Set([0]);
  for (const piece of pieces) {
    const after = new Set<number>();
    for (const end of ends) {
      if (!('text' in piece)) addEnds(piece, value, end, after);
      else if (value.startsWith(piece.text, end)) after.add(end + piece.text.length);
    }
    ends = after;
  }
  return ends.has(value.length);
}

/** Adds the places at which a wildcard can end that begins at `start`. */
function addEnds(piece: Wildcard, value: string, start: number, ends: Set<number>): void {
  const isOnce = 'class' in piece && !piece.many;
  const isOptional = 'class' in piece ? piece.many : piece.any !== 'segment';
  if (isOptional) ends.add(start);
  const character = characterOf(piece);
  for (let at = start; at < value.length && character.test(value[at]!); at++) {
    // Starts are ascending, so an earlier one has added everything that follows.
    if (!isOnce && at > start && ends.has(at + 1)) return;
    ends.add(at + 1);
    if (isOnce) return;
  }
}

type Wildcard = Exclude<Piece, { readonly text: string }>;

const characterOf = remembered(
  (piece: Wildcard): RegExp => new RegExp(`^${'class' in piece ? piece.class : SOURCES[piece.any].slice(0, -1)}$`, 's'),
);

/** Compiles a pattern to a regular expression. */
export const patternOf = remembered((pieces: readonly Piece[]): RegExp => {
  const source = pieces.map((piece) => {
    if ('text' in piece) return quoted(piece.text);
    return 'class' in piece ? formatPiece(piece) : SOURCES[piece.any];
  });
  return new RegExp(`^${source.join('')}$`, 's');
});

const SOURCES = {
  segment: `[${SEGMENT_CHARACTERS}]+`,
  rest: `[${SEGMENT_CHARACTERS}/]*`,
  text: '.*',
  label: '[^/]*',
} as const;

/** Escapes text for a regular expression. */
export function quoted(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&');
}
