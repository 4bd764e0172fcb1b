/**
 * Text patterns: path templates, globs and regular expressions without lookarounds. Small patterns are compiled. Larger
 * ones are matched character by character, as are patterns in the search for example texts.
 */

import { memoize } from '@meshpass/identity/memory/memoize';
import { SEGMENT_CHARACTERS } from '@meshpass/istio';

/** Part of a pattern: literal text or a wildcard. */
export type Piece =
  | { readonly text: string }
  /** Non-empty path segment: `{*}`. */
  | { readonly any: 'segment' }
  /** Remaining path, which may be empty: `{**}`. */
  | { readonly any: 'rest' }
  /** Any number of arbitrary characters. */
  | { readonly any: 'text' }
  /** Any number of characters other than `/`. */
  | { readonly any: 'label' }
  /** Characters of a regular expression class, such as `[0-9]`: either exactly one, or any number of them. */
  | { readonly class: string; readonly many: boolean };

type Wildcard = Exclude<Piece, { readonly text: string }>;

/** Accepted characters, as a regular expression class. */
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

/** Formats a piece in policy notation. */
export function formatPiece(piece: Piece): string {
  if ('text' in piece) return piece.text;
  return 'class' in piece ? classOf(piece) + quantifierOf(piece) : WRITTEN[piece.any];
}

/** Compiles a pattern to a regular expression. */
export const compilePattern = memoize((pieces: readonly Piece[]): RegExp => {
  const source = pieces.map((piece) =>
    'text' in piece ? escapeRegExp(piece.text) : classOf(piece) + quantifierOf(piece),
  );
  return new RegExp(`^${source.join('')}$`, 's');
});

/** Escapes text for a regular expression. */
export function escapeRegExp(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&');
}

/** Maximum size of patterns that are compiled. V8 throws for regular expressions a few times larger than this. */
const MAX_REGEX = 4000;
/** Approximate size of a wildcard after it is compiled. */
const WILDCARD_SIZE = 40;

const sizeOf = memoize((pieces: readonly Piece[]): number =>
  pieces.reduce((size, piece) => size + ('text' in piece ? piece.text.length : WILDCARD_SIZE), 0),
);

/** Whether a pattern matches the whole text. */
export function matchesPattern(pieces: readonly Piece[], value: string): boolean {
  return sizeOf(pieces) > MAX_REGEX ? covers(pieces, value) : compilePattern(pieces).test(value);
}

/** Matches a large pattern piece by piece. It tracks all positions in the text where the previous pieces may end. */
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

/** Adds the positions where a wildcard may end that starts at `start`. */
function addEnds(piece: Wildcard, value: string, start: number, ends: Set<number>): void {
  const quantifier = quantifierOf(piece);
  if (quantifier === '*') ends.add(start);
  const character = characterOf(piece);
  for (let at = start; at < value.length && character.test(value[at]!); at++) {
    // Start positions are ascending, so an earlier one has already added all following positions.
    if (quantifier !== '' && at > start && ends.has(at + 1)) return;
    ends.add(at + 1);
    if (quantifier === '') return;
  }
}

const characterOf = memoize((piece: Wildcard): RegExp => new RegExp(`^${classOf(piece)}$`, 's'));

/** Step of a pattern that accepts one character of a class, or any number of them. */
export interface Step {
  /** Character that the step accepts, if it accepts only one. */
  readonly letter?: string;
  /** Regular expression class that the step accepts, if it accepts more than one character. */
  readonly class?: string;
  readonly many: boolean;
  readonly accepts: (letter: string) => boolean;
}

/** Positions in a pattern's steps, in ascending order. */
export type Positions = readonly number[];

/** Lists the steps of a pattern. */
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

/** Yields the given positions, and those that can be reached if optional steps are skipped. */
function* ready(steps: readonly Step[], positions: Positions): Generator<number> {
  for (const first of positions) {
    let position = first;
    yield position;
    while (steps[position]?.many) yield ++position;
  }
}

/** Returns the positions after the next character. Empty if the pattern can no longer match. */
export function advancePositions(steps: readonly Step[], positions: Positions, letter: string): Positions {
  const reached = new Set<number>();
  for (const position of ready(steps, positions)) {
    const step = steps[position];
    if (step?.accepts(letter)) reached.add(step.many ? position : position + 1);
  }
  return [...reached].sort((a, b) => a - b);
}

/** Whether the pattern matches a text that ends here. */
export function matchesAtEnd(steps: readonly Step[], positions: Positions): boolean {
  for (const position of ready(steps, positions)) if (position === steps.length) return true;
  return false;
}

/** Yields the characters that match next, if they are single characters. */
export function* awaited(steps: readonly Step[], positions: Positions): Generator<string> {
  for (const position of ready(steps, positions)) {
    const letter = steps[position]?.letter;
    if (letter !== undefined) yield letter;
  }
}
