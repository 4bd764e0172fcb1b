/**
 * Finds example texts for tests with patterns. A product of automata is explored breadth first, character by character
 * from the empty text, so that examples are short. Each reachable combination of positions is visited once, so the
 * possible combinations of results are known exactly. Exact texts and prefixes share one tree. Suffixes are tracked by
 * the longest relevant ending, and patterns only while they can still match.
 */
import { MeshpassError } from '@meshpass/identity';
import { remembered } from '@meshpass/identity/memory/remembered';
import { SEGMENT_CHARACTERS } from '@meshpass/istio';
import { type Piece, type TextDomain, type TextTest, textsOf } from './text-test.ts';

const MAX_STATES = 200_000;

/** State after reading a text. */
interface State {
  readonly text: string;
  /** Whether the text can still become an exact text or a prefix. */
  readonly inTree: boolean;
  /** Longest tested prefix of the text. */
  readonly prefix: string;
  /** Longest suffix of the text that is also a prefix of a tested suffix. */
  readonly ending: string;
  /** Patterns that can still match, with their positions. */
  readonly alive: ReadonlyMap<number, Positions>;
}

/** Positions in the steps of a pattern, ascending. */
type Positions = readonly number[];

/**
 * Yields texts for all possible combinations of results.
 * @throws MeshpassError `policy_too_large`
 */
export function* exploreTexts(tests: readonly TextTest[], domain: TextDomain): Generator<string> {
  const walk = walker(tests, domain);
  const seen = new Set([keyOf(walk.start)]);
  // Breadth first: the queue grows while it is read.
  const queue: State[] = [walk.start];
  for (const state of queue) {
    if (state.text !== '') yield state.text;
    for (const letter of walk.letters(state)) {
      const after = walk.step(state, letter);
      const key = keyOf(after);
      if (seen.has(key)) continue;
      if (seen.size >= MAX_STATES)
        throw new MeshpassError(
          'policy_too_large',
          'There are too many path patterns, or they are too complex, to compare.',
        );
      seen.add(key);
      queue.push(after);
    }
  }
}

function walker(tests: readonly TextTest[], { start, alphabet }: TextDomain) {
  const prefixes = new Set(textsOf(tests, 'prefix'));
  const tree = new Map<string, Set<string>>();
  for (const text of [...textsOf(tests, 'exact'), ...prefixes]) branch(tree, text);
  const endings = new Map<string, Set<string>>();
  for (const text of textsOf(tests, 'suffix')) branch(endings, text);
  const machines = tests.flatMap((test) => (test.form === 'pattern' ? [stepsOf(test.pieces)] : []));
  const named = new Set([...tree.values(), ...endings.values()].flatMap((letters) => [...letters]));
  for (const steps of machines) for (const step of steps) if (step.length === 1) named.add(step);
  named.add('/');
  // A letter that no test contains stands for all such letters.
  const other = [...alphabet].find((letter) => !named.has(letter));
  const kinds = kindsOfLetters(machines, alphabet);

  const step = (state: State, letter: string): State => {
    const text = state.text + letter;
    let ending = state.ending + letter;
    while (ending !== '' && !endings.has(ending)) ending = ending.slice(1);
    const alive = new Map<number, Positions>();
    for (const [machine, positions] of state.alive) {
      const after = advance(machines[machine]!, positions, letter);
      if (after.length > 0) alive.set(machine, after);
    }
    const inTree = state.inTree && tree.has(text);
    return { text, inTree, prefix: prefixes.has(text) ? text : state.prefix, ending, alive };
  };
  const letters = ({ text, inTree, ending, alive }: State): ReadonlySet<string> =>
    new Set([
      ...(other === undefined ? [] : [other]),
      ...(alive.size > 0 ? ['/', STRANGE, ...kinds] : []),
      ...(inTree ? tree.get(text)! : []),
      ...endingsOf(ending).flatMap((one) => [...(endings.get(one) ?? [])]),
      ...[...alive].flatMap(([machine, positions]) => [...awaited(machines[machine]!, positions)]),
    ]);
  const beginning: State = {
    text: '',
    inTree: true,
    prefix: prefixes.has('') ? '' : '-',
    ending: '',
    alive: new Map(machines.map((_, index) => [index, [0]])),
  };
  if (!tree.has('')) tree.set('', new Set());
  return { letters, step, start: [...start].reduce(step, beginning) };
}

/**
 * Lists a letter for every combination of the character classes that patterns test, preferring those of the alphabet.
 * The letters that tests name are explored anyway.
 */
function kindsOfLetters(machines: readonly (readonly Step[])[], alphabet: string): readonly string[] {
  const classes = [...new Set(machines.flat().filter(isClass))];
  if (classes.length === 0) return [];
  const byKind = new Map<string, string>();
  for (const letter of [...alphabet, ...PRINTABLE]) {
    const kind = classes.map((one) => accepts(one, letter)).join();
    if (!byKind.has(kind)) byKind.set(kind, letter);
  }
  return [...byKind.values()];
}

/** Characters that a request can contain, except those that end a path. */
const PRINTABLE = Array.from({ length: 94 }, (_, index) => String.fromCharCode(33 + index)).filter(
  (letter) => letter !== '?' && letter !== '#',
);

/** Lists a text and all its suffixes, down to the empty one. */
function endingsOf(text: string): readonly string[] {
  return Array.from({ length: text.length + 1 }, (_, from) => text.slice(from));
}

/** Adds every prefix of a text, with the letters that may follow. */
function branch(tree: Map<string, Set<string>>, text: string): void {
  for (let length = 0; length <= text.length; length++) {
    const here = text.slice(0, length);
    const letters = tree.get(here) ?? new Set<string>();
    if (length < text.length) letters.add(text[length]!);
    tree.set(here, letters);
  }
}

/** Letter, or a loop: `segment+` matches one or more times, the other loops zero or more. */
type Step = string;
const LOOPS: ReadonlySet<Step> = new Set(['segment*', 'rest*', 'text*', 'label*']);
/** Beginnings of steps that match a character of a class, once or in a loop. The class follows. */
const ONCE = 'class:';
const MANY = 'classes:';

function isLoop(step: Step): boolean {
  return LOOPS.has(step) || step.startsWith(MANY);
}

function isClass(step: Step): boolean {
  return step.startsWith(ONCE) || step.startsWith(MANY);
}

function stepsOf(pieces: readonly Piece[]): readonly Step[] {
  return pieces.flatMap((piece): Step[] => {
    if ('text' in piece) return [...piece.text];
    if ('class' in piece) return [`${piece.many ? MANY : ONCE}${piece.class}`];
    return piece.any === 'segment' ? ['segment+', 'segment*'] : [`${piece.any}*`];
  });
}

/** Yields positions, and those reachable by skipping optional steps. */
function* ready(steps: readonly Step[], positions: Positions): Generator<number> {
  for (const first of positions) {
    let position = first;
    yield position;
    while (isLoop(steps[position] ?? '')) yield ++position;
  }
}

function advance(steps: readonly Step[], positions: Positions, letter: string): Positions {
  const reached = new Set<number>();
  for (const position of ready(steps, positions)) {
    const step = steps[position];
    if (step === undefined || !accepts(step, letter)) continue;
    reached.add(isLoop(step) ? position : position + 1);
  }
  return [...reached].sort((a, b) => a - b);
}

/** Single-character steps that can match next. */
function* awaited(steps: readonly Step[], positions: Positions): Generator<string> {
  for (const position of ready(steps, positions)) if (steps[position]?.length === 1) yield steps[position];
}

/** Character outside pchar that Envoy accepts. */
const STRANGE = '|';
const SEGMENT = new RegExp(`^[${SEGMENT_CHARACTERS}]$`);

function accepts(step: Step, letter: string): boolean {
  switch (step) {
    case 'segment+':
    case 'segment*':
      return SEGMENT.test(letter);
    case 'rest*':
      return letter === '/' || SEGMENT.test(letter);
    case 'text*':
      return true;
    case 'label*':
      return letter !== '/';
    default:
      return isClass(step) ? classOf(step).test(letter) : step === letter;
  }
}

const classOf = remembered(
  (step: Step): RegExp => new RegExp(`^${step.slice(step.indexOf(':') + 1)}$`, 's'),
  new Map(),
);

function keyOf({ text, inTree, prefix, ending, alive }: State): string {
  const patterns = [...alive].map(([machine, positions]) => `${machine}:${positions.join()}`);
  return [inTree ? text : '', prefix, ending, patterns.join(';')].join('\n');
}
