/**
 * Finds example texts for tests that include patterns. Explores a product of automata breadth first, one character at a
 * time, starting with the empty text, so that the examples are short. Each reachable combination of positions is
 * visited once, so exactly the possible combinations of test results are found. Exact texts and prefixes share one
 * tree. Suffixes are tracked by the longest relevant ending, and patterns only for as long as they can still match.
 */
import { MeshpassError } from '@meshpass/identity';
import { advancePositions, awaited, matchesAtEnd, type Positions, type Step, stepsOf } from './pattern.ts';
import { type TextDomain, type TextTest, textsOf } from './text-test.ts';

const MAX_STATES = 100_000;
/** The maximum number of characters in all tests combined. */
const MAX_CHARACTERS = 60_000;
/**
 * The maximum amount of work, measured by the number of letters that are tried and of pattern positions that are
 * visited.
 */
const MAX_WORK = 5_000_000;

/** The state of the search after a given text. */
interface State {
  readonly text: string;
  /** The node in the tree of exact texts and prefixes. Undefined once the text can no longer become any of them. */
  readonly node: TrieNode | undefined;
  /** The longest of the tested prefixes that the text starts with. */
  readonly prefix: TrieNode | undefined;
  /** The longest suffix of the text that is also the beginning of a tested suffix. */
  readonly ending: TrieNode;
  /** The patterns that can still match, with their current positions. */
  readonly alive: ReadonlyMap<number, Positions>;
}

/**
 * Yields at least one example text for each possible combination of test results.
 * @throws MeshpassError `policy_too_large`
 */
export function* exploreTexts(tests: readonly TextTest[], domain: TextDomain): Generator<string> {
  const walk = walker(tests, domain);
  const seen = new Set([keyOf(walk.start)]);
  const yielded = new Set<string>();
  // The queue grows while it is iterated, because the search is breadth first.
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
  // One letter that does not occur in any of the tests represents all such letters.
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
  /** Formats the results of all tests as a key. The longest prefix and suffix imply the results of all shorter ones. */
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

/** A tree node. It represents the text that is spelled out by the path from the root to the node. */
interface TrieNode {
  readonly number: number;
  readonly parent: TrieNode | undefined;
  readonly letter: string;
  readonly next: Map<string, TrieNode>;
  /** The text that ends at this node, if it was added to the tree. */
  text: string | undefined;
}

/**
 * Builds a tree of texts. Its memory use is proportional to the total number of characters.
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

/** Tracks the longest suffix of a text that is the beginning of a tested suffix (Aho and Corasick, 1975). */
function endingsOf(suffixes: readonly string[]) {
  const nodes = trieOf(suffixes);
  const [root] = nodes;
  /** For each node, the node with the longest text that is a proper suffix of the node's own text. */
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
    /** Returns the letters that could continue a tested suffix. */
    letters: ({ number }: TrieNode) => letters[number]!,
    /** Returns the longest tested suffix that the text ends with. */
    longest: ({ number }: TrieNode) => longest[number],
  };
}

/**
 * Lists one letter for each combination of character classes that the patterns tell apart, trying the preferred letters
 * first.
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

/** A character that Envoy accepts even though it is not a pchar. */
const STRANGE = '|';
/** All characters that may occur in a request, except for those that end a path. */
const PRINTABLE = Array.from({ length: 94 }, (_, index) => String.fromCharCode(33 + index)).filter(
  (letter) => letter !== '?' && letter !== '#',
);

function keyOf({ node, prefix, ending, alive }: State): string {
  const patterns = [...alive].map(([pattern, positions]) => `${pattern}:${positions.join()}`);
  return [node?.number, prefix?.number, ending.number, patterns.join(';')].join('\n');
}
