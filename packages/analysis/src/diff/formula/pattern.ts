/**
 * Matches text patterns: path templates, globs and regular expressions without lookarounds. Small patterns are compiled
 * to regular expressions. Large patterns are matched character by character, as are all patterns when the search for
 * example texts tests them.
 */

import { memoize } from '@meshpass/identity';
import { SEGMENT_CHARACTERS } from '@meshpass/istio';

/** A part of a pattern: either literal text or a wildcard. */
export type Piece =
  | { readonly text: string }
  /** A single path segment that is not empty, written as `{*}`. */
  | { readonly any: 'segment' }
  /** The rest of the path, which may be empty, written as `{**}`. */
  | { readonly any: 'rest' }
  /** Any number of arbitrary characters, including none. */
  | { readonly any: 'text' }
  /** Any number of characters other than `/`. */
  | { readonly any: 'label' }
  /** Characters from a regular expression class, such as `[0-9]`: either exactly one, or any number of them. */
  | { readonly class: string; readonly many: boolean };

type Wildcard = Exclude<Piece, { readonly text: string }>;

/** The characters that each kind of wildcard accepts, as a regular expression class. */
const CLASSES = {
  segment: `[${SEGMENT_CHARACTERS}]`,
  rest: `[${SEGMENT_CHARACTERS}/]`,
  text: '.',
  label: '[^/]',
} as const;
const WRITTEN = { segment: '{*}', rest: '{**}', text: '*', label: '*' } as const;

/** Returns the characters that a wildcard accepts, as a regular expression class. */
export function classOf(piece: Wildcard): string {
  return 'class' in piece ? piece.class : CLASSES[piece.any];
}

function quantifierOf(piece: Wildcard): '' | '*' | '+' {
  if ('class' in piece) return piece.many ? '*' : '';
  return piece.any === 'segment' ? '+' : '*';
}

/** Formats a part of a pattern in policy notation. */
export function formatPiece(piece: Piece): string {
  if ('text' in piece) return piece.text;
  return 'class' in piece ? classOf(piece) + quantifierOf(piece) : WRITTEN[piece.any];
}

/** Compiles a pattern to a regular expression that matches the whole text. */
export const compilePattern = memoize((pieces: readonly Piece[]): RegExp => {
  const source = pieces.map((piece) =>
    'text' in piece ? escapeRegExp(piece.text) : classOf(piece) + quantifierOf(piece),
  );
  return new RegExp(`^${source.join('')}$`, 's');
});

/** Escapes text for use in a regular expression. */
export function escapeRegExp(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&');
}

/** The size of the largest pattern that is compiled. V8 throws for regular expressions that are a few times larger. */
const MAX_REGEX = 4000;
/** The approximate size of a wildcard in a compiled pattern. */
const WILDCARD_SIZE = 40;

const sizeOf = memoize((pieces: readonly Piece[]): number =>
  pieces.reduce((size, piece) => size + ('text' in piece ? piece.text.length : WILDCARD_SIZE), 0),
);

/** Whether a pattern matches the text as a whole. */
export function matchesPattern(pieces: readonly Piece[], value: string): boolean {
  return sizeOf(pieces) > MAX_REGEX ? covers(pieces, value) : compilePattern(pieces).test(value);
}

/**
 * Matches a large pattern piece by piece, keeping track of every position in the text where the previous pieces could
 * end.
 */
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

/** Adds all positions where a wildcard that starts at `start` could end. */
function addEnds(piece: Wildcard, value: string, start: number, ends: Set<number>): void {
  const quantifier = quantifierOf(piece);
  if (quantifier === '*') ends.add(start);
  const character = characterOf(piece);
  for (let at = start; at < value.length && character.test(value[at]!); at++) {
    // Positions are processed in ascending order, so an earlier one has already added all of the following positions.
    if (quantifier !== '' && at > start && ends.has(at + 1)) return;
    ends.add(at + 1);
    if (quantifier === '') return;
  }
}

const characterOf = memoize((piece: Wildcard): RegExp => new RegExp(`^${classOf(piece)}$`, 's'));

/** A step of a pattern. It accepts a single character, or any number of characters from a class. */
export interface Step {
  /** The character that the step accepts, if it accepts only one. */
  readonly letter?: string;
  /** The regular expression class that the step accepts, if it accepts different characters. */
  readonly class?: string;
  readonly many: boolean;
  readonly accepts: (letter: string) => boolean;
}

/** The steps that may accept the next character, as ascending indexes. */
export type Positions = readonly number[];

/** Lists the steps that a pattern consists of. */
export const stepsOf = memoize((pieces: readonly Piece[]): readonly Step[] => {
  const ofLetter = memoize(
    (letter: string): Step => ({ letter, many: false, accepts: (one) => one === letter }),
    new Map(),
  );
  return pieces.flatMap((piece): readonly Step[] => {
    if ('text' in piece) return piece.text.split('').map(ofLetter);
    const form = characterOf(piece);
    const once = { class: classOf(piece), many: false, accepts: (one: string) => form.test(one) };
    const steps = { '': [once], '*': [{ ...once, many: true }], '+': [once, { ...once, many: true }] };
    return steps[quantifierOf(piece)];
  });
});

/** Yields the given positions, followed by those that can be reached from them by skipping optional steps. */
function* ready(steps: readonly Step[], positions: Positions): Generator<number> {
  for (const first of positions) {
    let position = first;
    yield position;
    while (steps[position]?.many) yield ++position;
  }
}

/** Returns the possible positions after the next character. The result is empty if the pattern can no longer match. */
export function advancePositions(steps: readonly Step[], positions: Positions, letter: string): Positions {
  const reached = new Set<number>();
  for (const position of ready(steps, positions)) {
    const step = steps[position];
    if (step?.accepts(letter)) reached.add(step.many ? position : position + 1);
  }
  return [...reached].sort((a, b) => a - b);
}

/** Whether the pattern matches if the text ends at one of the given positions. */
export function matchesAtEnd(steps: readonly Step[], positions: Positions): boolean {
  for (const position of ready(steps, positions)) if (position === steps.length) return true;
  return false;
}

/** Yields the characters that the steps could accept next, ignoring steps that accept a whole class. */
export function* awaited(steps: readonly Step[], positions: Positions): Generator<string> {
  for (const position of ready(steps, positions)) {
    const letter = steps[position]?.letter;
    if (letter !== undefined) yield letter;
  }
}
