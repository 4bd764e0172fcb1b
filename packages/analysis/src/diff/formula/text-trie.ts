/** Tree of texts by their characters, and its use to find texts with a given beginning or end. */

/** Place in a tree: the text on the way to it. */
export interface TrieNode {
  readonly number: number;
  readonly parent: TrieNode | undefined;
  readonly letter: string;
  readonly next: Map<string, TrieNode>;
  /** Text that ends here, if it is one of the tree's. */
  text: string | undefined;
}

/**
 * Builds the tree of some texts. The memory is proportional to their characters.
 * @returns all nodes, the root first
 */
export function trieOf(texts: readonly string[]): readonly [TrieNode, ...TrieNode[]] {
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

/**
 * Creates a function that tells whether a text is the beginning of one of the given texts. Unlike a set of all
 * beginnings, it needs no memory for each character.
 */
export function beginsSome(texts: Iterable<string>): (beginning: string) => boolean {
  const sorted = [...texts].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
  return (beginning) => {
    let [from, to] = [0, sorted.length];
    while (from < to) {
      const middle = (from + to) >> 1;
      if (sorted[middle]! < beginning) from = middle + 1;
      else to = middle;
    }
    return sorted[from]?.startsWith(beginning) ?? false;
  };
}

/** Like `beginsSome`, for the ends of texts. */
export function endsSome(texts: Iterable<string>): (end: string) => boolean {
  const begins = beginsSome([...texts].map(reversed));
  return (end) => begins(reversed(end));
}

function reversed(text: string): string {
  return text.split('').reverse().join('');
}
