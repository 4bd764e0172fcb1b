/**
 * The command tree consists of names, one-line summaries and loaders. A command's definition is not loaded until the
 * command is run.
 */
import type { Command } from './define.ts';

interface Listed {
  readonly summary: string;
  /** The heading under which the parent's help lists this command. */
  readonly heading?: string;
}

export interface Leaf extends Listed {
  readonly load: () => Promise<{ readonly command: Command }>;
}

export interface Group extends Listed {
  /** Complete example command lines that can be run without changes. */
  readonly examples: readonly string[];
  /** The path of the documentation page for the group's commands, relative to the root of the repository. */
  readonly page: string;
  readonly children: Readonly<Record<string, Leaf | Group>>;
}

export type Node = Leaf | Group;

export interface CommandSelection {
  /** The names of the selected groups and command, without `meshpass`. */
  readonly path: readonly string[];
  readonly node: Node;
  /** The command line to pass to the parser. */
  readonly words: readonly string[];
}

const HELP_FLAGS = ['--help', '-h'];

/**
 * Finds the command selected by a command line. `help policy lint`, `policy help lint` and `--help policy lint` are all
 * converted to `policy lint --help`. If the next word is not a command, help flags are removed so that the parser
 * reports that word.
 */
export function findCommand(root: Group, words: readonly string[]): CommandSelection {
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

/** Sets the heading under which the help lists these commands. */
export function withHeading(heading: string, children: Group['children']): Group['children'] {
  return Object.fromEntries(Object.entries(children).map(([name, child]) => [name, { ...child, heading }]));
}

/** Lists all commands with their paths, in the order of the tree. */
export function listLeafCommands(
  node: Node,
  path: readonly string[] = [],
): readonly (readonly [readonly string[], Leaf])[] {
  if (isLeaf(node)) return [[path, node]];
  return Object.entries(node.children).flatMap(([name, child]) => listLeafCommands(child, [...path, name]));
}

/** Whether a node is a command rather than a group. */
export function isLeaf(node: Node): node is Leaf {
  return 'load' in node;
}

/** Defines a command whose module exports only that command. */
export function leaf(summary: string, load: Leaf['load']): Leaf {
  return { summary, load };
}

/** Defines the commands that a module exports, keyed by their names in that module. */
export function commandsInModule<Name extends string>(
  load: () => Promise<{ readonly commands: Readonly<Record<Name, Command>> }>,
  summaries: Readonly<Partial<Record<Name, string>>>,
): Readonly<Record<string, Leaf>> {
  const loadOne = async (name: Name) => ({ command: (await load()).commands[name] });
  const leaves = Object.entries(summaries).map(([name, summary]) => {
    return [name, { summary: summary as string, load: () => loadOne(name as Name) }];
  });
  return Object.fromEntries(leaves);
}
