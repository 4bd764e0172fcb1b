/**
 * Examples of texts where patterns are among the tests: all tests are walked together, character by character, from the
 * empty text on, and every set of positions in which they can be together is visited once. What answers can go together is
 * then known exactly (a product of automata, breadth first, so that examples are short).
 */
import { MeshpassError } from '@meshpass/identity';
import type { TextDomain } from './text-classes.ts';
import { type Piece, SEGMENT_CHARACTERS, type TextTest } from './text-test.ts';

const MAX_STATES = 50_000;

/** @throws MeshpassError `policy_too_large` */
export function* exploreTexts(tests: readonly TextTest[], { start, alphabet }: TextDomain): Generator<string> {
  const machines = tests.map((test) => machineOf(piecesOf(test)));
  const letters = lettersOf(tests, alphabet);
  const first = [...start].reduce<readonly Positions[]>(
    (states, letter) => states.map((state, index) => machines[index]!(state, letter)),
    machines.map(() => [0]),
  );
  const seen = new Set([keyOf(first)]);
  let layer: { readonly text: string; readonly states: readonly Positions[] }[] = [{ text: start, states: first }];
  while (layer.length > 0) {
    const next: typeof layer = [];
    for (const { text, states } of layer) {
      if (text !== '') yield text;
      for (const letter of letters) {
        const after = states.map((state, index) => machines[index]!(state, letter));
        const key = keyOf(after);
        if (seen.has(key)) continue;
        if (seen.size >= MAX_STATES)
          throw new MeshpassError(
            'policy_too_large',
            'These path patterns are too many, or too entangled, to be compared.',
          );
        seen.add(key);
        next.push({ text: text + letter, states: after });
      }
    }
    layer = next;
  }
}

/** Positions in the pieces of a test that the text so far may have led to, ascending. */
type Positions = readonly number[];
type Step = string | 'segment+' | 'segment*' | 'rest*' | 'text*' | 'label*';

/** Every character of the tests, and one that stands for all others. */
function lettersOf(tests: readonly TextTest[], alphabet: string): readonly string[] {
  const named = new Set(tests.flatMap((test) => [...('text' in test ? test.text : '')]));
  for (const test of tests)
    if (test.form === 'pattern')
      for (const piece of test.pieces) if ('text' in piece) for (const one of piece.text) named.add(one);
  const other = [...alphabet].find((letter) => !named.has(letter));
  return [...(other === undefined ? [] : [other]), '/', ...[...named].filter((one) => one !== '/').sort()];
}

function piecesOf(test: TextTest): readonly Piece[] {
  switch (test.form) {
    case 'exact':
      return [{ text: test.text }];
    case 'prefix':
      return [{ text: test.text }, { any: 'text' }];
    case 'suffix':
      return [{ any: 'text' }, { text: test.text }];
    case 'present':
      return [{ any: 'text' }];
    case 'pattern':
      return test.pieces;
  }
}

/** One step of a nondeterministic automaton whose states are positions in the pieces, letter by letter. */
function machineOf(pieces: readonly Piece[]): (positions: Positions, letter: string) => Positions {
  const steps = pieces.flatMap((piece): Step[] => {
    if ('text' in piece) return [...piece.text];
    return piece.any === 'segment' ? ['segment+', 'segment*'] : [`${piece.any}*`];
  });
  const memory = new Map<string, Positions>();
  return (positions, letter) => {
    const key = `${letter}${positions.join()}`;
    let after = memory.get(key);
    if (!after) {
      after = advance(steps, positions, letter);
      memory.set(key, after);
    }
    return after;
  };
}

function advance(steps: readonly Step[], positions: Positions, letter: string): Positions {
  const reached = new Set<number>();
  const reach = (position: number): void => {
    reached.add(position);
    if (steps[position]?.endsWith('*') && steps[position].length > 1) reach(position + 1);
  };
  const ready = new Set<number>();
  const close = (position: number): void => {
    ready.add(position);
    if (steps[position]?.endsWith('*') && steps[position].length > 1) close(position + 1);
  };
  for (const position of positions) close(position);
  for (const position of ready) {
    const step = steps[position];
    if (step === undefined || !accepts(step, letter)) continue;
    reach(step.length > 1 && step.endsWith('*') ? position : position + 1);
  }
  return [...reached].sort((a, b) => a - b);
}

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

function keyOf(states: readonly Positions[]): string {
  return states.map((positions) => positions.join()).join(';');
}
