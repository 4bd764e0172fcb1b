/**
 * Converts the regular expressions in routes to text tests. Envoy uses RE2 to match them against the whole text.
 * Expressions without lookarounds, case folding or repeated groups become a finite list of patterns. All others cannot
 * be expressed.
 */
import type { Piece } from './pattern.ts';
import type { TextTest } from './text-test.ts';

/** A sequence of pattern pieces. A regular expression is represented by a list of alternative sequences. */
type Sequence = readonly Piece[];

/** The maximum numbers of alternatives and repetitions, which limit the number of tests. */
const MAX_ALTERNATIVES = 64;
const MAX_REPETITIONS = 16;

/** Thrown if an expression cannot be represented by patterns. */
const INEXPRESSIBLE = Symbol('inexpressible');

/**
 * Translates a regular expression that must match the whole text.
 * @returns tests of which at least one must pass, or undefined if patterns cannot express the regular expression
 * @example
 * ```ts
 * parseRegex('/v1(/.*)?'); // => [{ form: 'exact', text: '/v1' }, { form: 'prefix', text: '/v1/' }]
 * ```
 */
export function parseRegex(source: string): readonly TextTest[] | undefined {
  try {
    const parser = new Parser(source.replace(/^\^/, '').replace(/(?<!\\)\$$/, ''));
    return parser.parse().map(toTest);
  } catch (thrown) {
    if (thrown === INEXPRESSIBLE) return undefined;
    throw thrown;
  }
}

function toTest(sequence: Sequence): TextTest {
  const pieces = merged(sequence);
  const [first, second, ...rest] = pieces;
  if (!first) return { form: 'exact', text: '' };
  if ('text' in first && !second) return { form: 'exact', text: first.text };
  if (rest.length === 0) {
    if (isAnything(first) && !second) return { form: 'prefix', text: '' };
    if ('text' in first && second && isAnything(second)) return { form: 'prefix', text: first.text };
    if (isAnything(first) && second && 'text' in second) return { form: 'suffix', text: second.text };
  }
  return { form: 'pattern', pieces };
}

function isAnything(piece: Piece): boolean {
  return 'class' in piece && piece.class === '.' && piece.many;
}

/** Joins adjacent pieces of literal text. */
function merged(sequence: Sequence): readonly Piece[] {
  const pieces: Piece[] = [];
  for (const piece of sequence) {
    const last = pieces.at(-1);
    if ('text' in piece && last && 'text' in last) pieces[pieces.length - 1] = { text: last.text + piece.text };
    else pieces.push(piece);
  }
  return pieces;
}

class Parser {
  #at = 0;
  readonly #source: string;

  constructor(source: string) {
    this.#source = source;
  }

  parse(): readonly Sequence[] {
    const found = this.#alternatives();
    if (this.#at < this.#source.length) throw INEXPRESSIBLE;
    return found;
  }

  #alternatives(): readonly Sequence[] {
    const found = [...this.#sequence()];
    while (this.#source[this.#at] === '|') {
      this.#at++;
      found.push(...this.#sequence());
    }
    return limited(found);
  }

  #sequence(): readonly Sequence[] {
    let found: readonly Sequence[] = [[]];
    while (this.#at < this.#source.length && !'|)'.includes(this.#source[this.#at]!)) {
      found = product(found, this.#repeated(this.#atom()));
    }
    return found;
  }

  #atom(): readonly Sequence[] {
    const letter = this.#source[this.#at++]!;
    if (letter === '(') return this.#group();
    if (letter === '[') return [[{ class: this.#bracket(), many: false }]];
    if (letter === '.') return [[{ class: '.', many: false }]];
    if (letter === '\\') return [[this.#escape()]];
    if ('*+?{}^$]'.includes(letter)) throw INEXPRESSIBLE;
    return [[{ text: letter }]];
  }

  #group(): readonly Sequence[] {
    const opening = /^\?(?::|P?<\w+>)|^(?!\?)/.exec(this.#source.slice(this.#at));
    if (!opening) throw INEXPRESSIBLE;
    this.#at += opening[0].length;
    const found = this.#alternatives();
    if (this.#source[this.#at++] !== ')') throw INEXPRESSIBLE;
    return found;
  }

  /** Parses a character class. POSIX classes within it are not supported. */
  #bracket(): string {
    const rest = this.#source.slice(this.#at);
    const read = /^\^?(?:\\[dwsDWS\-\]\\.^/]|[^\]\\[])+\]/.exec(rest);
    if (!read) throw INEXPRESSIBLE;
    this.#at += read[0].length;
    const found = `[${read[0]}`;
    try {
      new RegExp(found);
    } catch {
      throw INEXPRESSIBLE;
    }
    return found;
  }

  #escape(): Piece {
    const letter = this.#source[this.#at++] ?? '';
    if (/^[dwsDWS]$/.test(letter)) return { class: `\\${letter}`, many: false };
    if (/^[A-Za-z0-9]?$/.test(letter)) throw INEXPRESSIBLE;
    return { text: letter };
  }

  #repeated(atom: readonly Sequence[]): readonly Sequence[] {
    const quantifier = /^(?:[*+?]|\{(\d+)(,(\d*))?\})\??/.exec(this.#source.slice(this.#at));
    if (!quantifier) return atom;
    this.#at += quantifier[0].length;
    const [whole, least, range, most] = quantifier;
    if (whole.startsWith('?')) return limited([...atom, []]);
    if (whole.startsWith('*')) return many(atom);
    if (whole.startsWith('+')) return product(atom, many(atom));
    const [from, to] = [Number(least), range === undefined ? Number(least) : Number(most || least)];
    if (from > MAX_REPETITIONS || to > MAX_REPETITIONS || to < from) throw INEXPRESSIBLE;
    const unlimited = range !== undefined && most === '';
    const found: Sequence[] = [];
    for (let count = from; count <= to; count++) found.push(...power(atom, count));
    return unlimited ? product(found, many(atom)) : limited(found);
  }
}

function power(atom: readonly Sequence[], count: number): readonly Sequence[] {
  let found: readonly Sequence[] = [[]];
  for (let index = 0; index < count; index++) found = product(found, atom);
  return found;
}

/** Repeats a single character or a character class any number of times. */
function many(atom: readonly Sequence[]): readonly Sequence[] {
  const [only, ...others] = atom;
  const [piece, ...rest] = only ?? [];
  if (others.length > 0 || rest.length > 0 || !piece) throw INEXPRESSIBLE;
  if ('text' in piece && piece.text.length === 1) return [[{ class: `[${escaped(piece.text)}]`, many: true }]];
  if (!('class' in piece) || piece.many) throw INEXPRESSIBLE;
  return [[{ class: piece.class, many: true }]];
}

function escaped(letter: string): string {
  return letter.replace(/[\\\]^-]/, '\\$&');
}

function product(first: readonly Sequence[], second: readonly Sequence[]): readonly Sequence[] {
  return limited(first.flatMap((one) => second.map((other) => [...one, ...other])));
}

function limited(sequences: readonly Sequence[]): readonly Sequence[] {
  if (sequences.length > MAX_ALTERNATIVES) throw INEXPRESSIBLE;
  return sequences;
}
