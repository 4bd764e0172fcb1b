/**
 * Examples of texts where patterns are among the tests: all tests are walked together, character by character, from the
 * empty text on, and every set of positions in which they can be together is visited once. What answers can go together is
 * then known exactly (a product of automata, breadth first, so that examples are short). Exact texts and prefixes are walked as
 * one tree, suffixes by the longest ending that matters, and patterns only as long as they may still match.
 */
import { MeshpassError } from '@meshpass/identity';
import { SEGMENT_CHARACTERS } from '@meshpass/istio';
import type { Piece, TextDomain, TextTest } from './text-test.ts';

const MAX_STATES = 200_000;

/** Where a text has led to. */
interface State {
  readonly text: string;
  /** Whether it may still become an exact text or a prefix. */
  readonly inTree: boolean;
  /** The longest prefix that it has. */
  readonly prefix: string;
  /** Its longest ending with which a suffix begins. */
  readonly ending: string;
  /** Patterns that may still match, each with its positions. */
  readonly alive: ReadonlyMap<number, Positions>;
}

/** Positions in the steps of a pattern, ascending. */
type Positions = readonly number[];

/** @throws MeshpassError `policy_too_large` */
export function* exploreTexts(tests: readonly TextTest[], domain: TextDomain): Generator<string> {
  const walk = walker(tests, domain);
  const seen = new Set<string>();
  let layer: State[] = [walk.start];
  seen.add(keyOf(walk.start));
  while (layer.length > 0) {
    const next: State[] = [];
    for (const state of layer) {
      if (state.text !== '') yield state.text;
      for (const letter of walk.letters(state)) {
        const after = walk.step(state, letter);
        const key = keyOf(after);
        if (seen.has(key)) continue;
        if (seen.size >= MAX_STATES)
          throw new MeshpassError(
            'policy_too_large',
            'These path patterns are too many, or too entangled, to be compared.',
          );
        seen.add(key);
        next.push(after);
      }
    }
    layer = next;
  }
}

function walker(tests: readonly TextTest[], { start, alphabet }: TextDomain) {
  const texts = (form: TextTest['form']) =>
    tests.flatMap((test) => (test.form === form && 'text' in test ? [test.text] : []));
  const prefixes = new Set(texts('prefix'));
  const tree = new Map<string, Set<string>>();
  for (const text of [...texts('exact'), ...prefixes]) branch(tree, text);
  const endings = new Map<string, Set<string>>();
  for (const text of texts('suffix')) branch(endings, text);
  const machines = tests.flatMap((test) => (test.form === 'pattern' ? [stepsOf(test.pieces)] : []));
  const named = new Set([...tree.values(), ...endings.values()].flatMap((letters) => [...letters]));
  for (const steps of machines) for (const step of steps) if (step.length === 1) named.add(step);
  named.add('/');
  // A letter that no test names stands for all of those.
  const other = [...alphabet].find((letter) => !named.has(letter));

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
  const letters = (state: State): ReadonlySet<string> => {
    const asked = new Set<string>(other === undefined ? [] : [other]);
    if (state.alive.size > 0) asked.add('/').add(STRANGE);
    if (state.inTree) for (const letter of tree.get(state.text)!) asked.add(letter);
    for (let ending = state.ending; ; ending = ending.slice(1)) {
      for (const letter of endings.get(ending) ?? []) asked.add(letter);
      if (ending === '') break;
    }
    for (const [machine, positions] of state.alive)
      for (const letter of awaited(machines[machine]!, positions)) asked.add(letter);
    return asked;
  };
  const beginning: State = {
    ...{ text: '', inTree: true, prefix: prefixes.has('') ? '' : '-', ending: '' },
    alive: new Map(machines.map((_, index) => [index, [0]])),
  };
  if (!tree.has('')) tree.set('', new Set());
  return { letters, step, start: [...start].reduce(step, beginning) };
}

/** Every beginning of a text, with the letters that may follow. */
function branch(tree: Map<string, Set<string>>, text: string): void {
  for (let length = 0; length <= text.length; length++) {
    const here = text.slice(0, length);
    const letters = tree.get(here) ?? new Set<string>();
    if (length < text.length) letters.add(text[length]!);
    tree.set(here, letters);
  }
}

/** A letter, or what may stand there: `segment+` once or more, the others also never. */
type Step = string;
const LOOPS: ReadonlySet<Step> = new Set(['segment*', 'rest*', 'text*', 'label*']);

function stepsOf(pieces: readonly Piece[]): readonly Step[] {
  return pieces.flatMap((piece): Step[] => {
    if ('text' in piece) return [...piece.text];
    return piece.any === 'segment' ? ['segment+', 'segment*'] : [`${piece.any}*`];
  });
}

/** Positions together with those behind what may be left out. */
function* ready(steps: readonly Step[], positions: Positions): Generator<number> {
  for (const first of positions) {
    let position = first;
    yield position;
    while (LOOPS.has(steps[position] ?? '')) yield ++position;
  }
}

function advance(steps: readonly Step[], positions: Positions, letter: string): Positions {
  const reached = new Set<number>();
  for (const position of ready(steps, positions)) {
    const step = steps[position];
    if (step === undefined || !accepts(step, letter)) continue;
    reached.add(LOOPS.has(step) ? position : position + 1);
  }
  return [...reached].sort((a, b) => a - b);
}

/** Letters that are awaited by themselves. */
function* awaited(steps: readonly Step[], positions: Positions): Generator<string> {
  for (const position of ready(steps, positions)) if (steps[position]?.length === 1) yield steps[position];
}

/** No pchar, and Envoy passes it on. */
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
      return step === letter;
  }
}

function keyOf({ text, inTree, prefix, ending, alive }: State): string {
  const patterns = [...alive].map(([machine, positions]) => `${machine}:${positions.join()}`);
  return [inTree ? text : '', prefix, ending, patterns.join(';')].join('\n');
}
