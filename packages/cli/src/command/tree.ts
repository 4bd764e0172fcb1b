/** The tree of commands: a name, a one-line summary, and how to load the definition; nothing of a command is loaded before it is called. */
import type { Command } from './define.ts';

export interface Leaf {
  readonly summary: string;
  readonly load: () => Promise<{ readonly command: Command }>;
}

export interface Group {
  readonly summary: string;
  /** Whole shell lines. */
  readonly examples: readonly string[];
  /** Page that explains its commands, below the repository's root. */
  readonly page: string;
  readonly children: Readonly<Record<string, Leaf | Group>>;
}

export type Node = Leaf | Group;

export interface Selection {
  /** Names of the groups and of the command, without `meshpass`. */
  readonly path: readonly string[];
  readonly node: Node;
  /** The command line to parse. */
  readonly words: readonly string[];
}

const HELP_FLAGS = ['--help', '-h'];

/**
 * Finds the command that a command line names. `help policy lint`, `policy help lint` and `--help policy lint` become
 * `policy lint --help`. Where the next word names no command, help flags are dropped, so that the parser reports the word.
 */
export function select(root: Group, words: readonly string[]): Selection {
  const path: string[] = [];
  let node: Node = root;
  let isHelpWanted = false;
  let rest = words;
  for (;;) {
    const [word, ...more] = rest;
    if (word === undefined || isLeaf(node)) break;
    const child: Node | undefined = Object.hasOwn(node.children, word) ? node.children[word] : undefined;
    if (child) {
      path.push(word);
      node = child;
    } else if (word === 'help' || HELP_FLAGS.includes(word)) isHelpWanted = true;
    else break;
    rest = more;
  }
  const isUnknown = !isLeaf(node) && rest[0] !== undefined && !rest[0].startsWith('-');
  if (isUnknown) return { path, node, words: [...path, ...rest.filter((word) => !HELP_FLAGS.includes(word))] };
  return { path, node, words: [...path, ...rest, ...(isHelpWanted ? ['--help'] : [])] };
}

/** Every command with its path, in the order of the tree. */
export function leavesOf(node: Node, path: readonly string[] = []): readonly (readonly [readonly string[], Leaf])[] {
  if (isLeaf(node)) return [[path, node]];
  return Object.entries(node.children).flatMap(([name, child]) => leavesOf(child, [...path, name]));
}

export function isLeaf(node: Node): node is Leaf {
  return 'load' in node;
}
