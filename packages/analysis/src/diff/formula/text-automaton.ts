/**
 * Finds example texts for tests with patterns. It explores a product of automata breadth first, character by character,
 * starting with the empty text, so that examples are short. Each reachable combination of positions is visited once, so
 * the possible combinations of results are exact. Exact texts and prefixes share one tree. Suffixes are tracked by the
 * longest relevant ending, and patterns are tracked only while they can still match.
 */
import { MeshpassError } from '@meshpass/identity';
import { advancePositions, awaited, matchesAtEnd, type Positions, type Step, stepsOf } from './pattern.ts';
import { type TextDomain, type TextTest, textsOf } from './text-test.ts';

const MAX_STATES = 100_000;
/** Maximum total number of characters in all tests. */
const MAX_CHARACTERS = 60_000;
/** Maximum number of steps: letters that are tried, and positions in patterns. */
const MAX_WORK = 5_000_000;

/** State after a text has been read. */
interface State {
  readonly text: string;
  /** Node in the tree of exact texts and prefixes. Undefined once the text can no longer become one of them. */
  readonly node: TrieNode | undefined;
  /** Longest tested prefix of the text. */
  readonly prefix: TrieNode | undefined;
  /** Longest suffix of the text that is also a prefix of a tested suffix. */
  readonly ending: TrieNode;
  /** Patterns that can still match, and their current positions. */
  readonly alive: ReadonlyMap<number, Positions>;
}

/**
 * Yields at least one text for each possible combination of results.
 * @throws MeshpassError `policy_too_large`
 */
export function* exploreTexts(tests: readonly TextTest[], domain: TextDomain): Generator<string> {
  const walk = walker(tests, domain);
  const seen = new Set([keyOf(walk.start)]);
  const yielded = new Set<string>();
  // The search is breadth first, so the queue grows while it is iterated.
  const queue: State[] = [walk.start];
  for (const state of queue) {
    const result = walk.resultOf(state);
    if (state.text !== '' && !yielded.has(result)) {
      yielded.add(result);
      yield state.text;
    }
    for (const letter of walk.letters(state)) {
      const after = walk.step(state, letter);
      const key = keyOf(after);
      if (seen.has(key)) continue;
      if (seen.size >= MAX_STATES) throw tooLarge();
      seen.add(key);
      queue.push(after);
    }
  }
}

function tooLarge(): MeshpassError {
  return new MeshpassError(
    'policy_too_large',
    'There are too many path patterns, or they are too complex, to compare.',
  );
}

function walker(tests: readonly TextTest[], { start, alphabet }: TextDomain) {
  const patterns = tests.flatMap((test) => (test.form === 'pattern' ? [stepsOf(test.pieces)] : []));
  const [exacts, prefixes, suffixes] = [textsOf(tests, 'exact'), textsOf(tests, 'prefix'), textsOf(tests, 'suffix')];
  const characters = [...exacts, ...prefixes, ...suffixes, ...patterns].reduce((sum, { length }) => sum + length, 0);
  if (characters > MAX_CHARACTERS) throw tooLarge();
  const [root] = trieOf([...exacts, ...prefixes]);
  const [exact, prefix] = [new Set(exacts), new Set(prefixes)];
  const endings = endingsOf(suffixes);
  const named = new Set([...exacts, ...prefixes, ...suffixes].flatMap((text) => [...new Set(text.split(''))]));
  for (const steps of patterns) for (const { letter } of steps) if (letter !== undefined) named.add(letter);
  named.add('/');
  // A letter that does not occur in any test represents all such letters.
  const other = [...alphabet].find((letter) => !named.has(letter));
  const kinds = kindsOfLetters(patterns, [...(other === undefined ? [] : [other]), ...alphabet]);
  const isPrefix = (node: TrieNode | undefined) => node?.text !== undefined && prefix.has(node.text);

  let work = 0;
  const step = (state: State, letter: string): State => {
    const alive = new Map<number, Positions>();
    work++;
    for (const [pattern, positions] of state.alive) {
      work += positions.length;
      const after = advancePositions(patterns[pattern]!, positions, letter);
      if (after.length > 0) alive.set(pattern, after);
    }
    if (work > MAX_WORK) throw tooLarge();
    const node = state.node?.next.get(letter);
    return {
      text: state.text + letter,
      node,
      prefix: isPrefix(node) ? node : state.prefix,
      ending: endings.after(state.ending, letter),
      alive,
    };
  };
  const letters = ({ node, ending, alive }: State): ReadonlySet<string> =>
    new Set([
      ...(other === undefined ? [] : [other]),
      ...(alive.size > 0 ? ['/', ...kinds] : []),
      ...(node?.next.keys() ?? []),
      ...endings.letters(ending),
      ...[...alive].flatMap(([pattern, positions]) => [...awaited(patterns[pattern]!, positions)]),
    ]);
  /** Formats the results of all tests as a key. Shorter prefixes and suffixes are implied by the longest ones. */
  const resultOf = ({ node, prefix: longest, ending, alive }: State): string => {
    const whole = node?.text !== undefined && exact.has(node.text) ? node.number : '';
    const passed = [...alive].filter(([pattern, positions]) => matchesAtEnd(patterns[pattern]!, positions));
    return [whole, longest?.number, endings.longest(ending)?.number, ...passed.map(([pattern]) => pattern)].join();
  };
  const beginning: State = {
    text: '',
    node: root,
    prefix: isPrefix(root) ? root : undefined,
    ending: endings.root,
    alive: new Map(patterns.map((_, index) => [index, [0]])),
  };
  return { letters, step, resultOf, start: start.split('').reduce(step, beginning) };
}

/** Node of a tree. It represents the text on the path to it. */
interface TrieNode {
  readonly number: number;
  readonly parent: TrieNode | undefined;
  readonly letter: string;
  readonly next: Map<string, TrieNode>;
  /** Text that ends at this node, if it is one of the tree's texts. */
  text: string | undefined;
}

/**
 * Builds a tree of texts. Memory use is proportional to their number of characters.
 * @returns all nodes, starting with the root
 */
function trieOf(texts: readonly string[]): readonly [TrieNode, ...TrieNode[]] {
  const root: TrieNode = { number: 0, parent: undefined, letter: '', next: new Map(), text: undefined };
  const nodes: [TrieNode, ...TrieNode[]] = [root];
  for (const text of texts) {
    let node = root;
    for (let at = 0; at < text.length; at++) {
      const letter = text[at]!;
      let next = node.next.get(letter);
      if (!next) {
        next = { number: nodes.length, parent: node, letter, next: new Map(), text: undefined };
        nodes.push(next);
        node.next.set(letter, next);
      }
      node = next;
    }
    node.text = text;
  }
  return nodes;
}

/** Tracks the longest suffix of a text that is the start of a tested suffix. Source: Aho and Corasick, 1975. */
function endingsOf(suffixes: readonly string[]) {
  const nodes = trieOf(suffixes);
  const [root] = nodes;
  /** For each node, the longest other node whose text is a suffix of the node's text. */
  const shorter: TrieNode[] = [root];
  const letters: ReadonlySet<string>[] = [new Set(root.next.keys())];
  const longest: (TrieNode | undefined)[] = [root.text === undefined ? undefined : root];
  const known: Map<string, TrieNode>[] = nodes.map(() => new Map());
  const after = (from: TrieNode, letter: string): TrieNode => {
    const passed: TrieNode[] = [];
    let node = from;
    let found = node.next.get(letter) ?? known[node.number]!.get(letter);
    while (!found && node !== root) {
      passed.push(node);
      node = shorter[node.number]!;
      found = node.next.get(letter) ?? known[node.number]!.get(letter);
    }
    for (const one of passed) known[one.number]!.set(letter, found ?? root);
    return found ?? root;
  };
  const queue = [root];
  for (const node of queue) {
    for (const next of node.next.values()) queue.push(next);
    const { number, parent, letter } = node;
    if (!parent) continue;
    const tail = parent === root ? root : after(shorter[parent.number]!, letter);
    shorter[number] = tail;
    const more = [...node.next.keys()].filter((one) => !letters[tail.number]!.has(one));
    letters[number] = more.length === 0 ? letters[tail.number]! : new Set([...letters[tail.number]!, ...more]);
    longest[number] = node.text === undefined ? longest[tail.number] : node;
  }
  return {
    root,
    after,
    /** Letters that continue a tested suffix. */
    letters: ({ number }: TrieNode) => letters[number]!,
    /** Longest tested suffix at the end of the text. */
    longest: ({ number }: TrieNode) => longest[number],
  };
}

/**
 * Lists one letter for each combination of the character classes that patterns test, starting with preferred letters.
 */
function kindsOfLetters(patterns: readonly (readonly Step[])[], preferred: readonly string[]): readonly string[] {
  const steps = new Map(patterns.flat().flatMap((step) => (step.class === undefined ? [] : [[step.class, step]])));
  const byKind = new Map<string, string>();
  for (const letter of [...preferred, STRANGE, ...PRINTABLE]) {
    const kind = [...steps.values()].map(({ accepts }) => accepts(letter)).join();
    if (!byKind.has(kind)) byKind.set(kind, letter);
  }
  return [...byKind.values()];
}

/** Character that is not a pchar but that Envoy accepts. */
const STRANGE = '|';
/** Characters that may occur in a request, except those that end a path. */
const PRINTABLE = Array.from({ length: 94 }, (_, index) => String.fromCharCode(33 + index)).filter(
  (letter) => letter !== '?' && letter !== '#',
);

function keyOf({ node, prefix, ending, alive }: State): string {
  const patterns = [...alive].map(([pattern, positions]) => `${pattern}:${positions.join()}`);
  return [node?.number, prefix?.number, ending.number, patterns.join(';')].join('\n');
}
