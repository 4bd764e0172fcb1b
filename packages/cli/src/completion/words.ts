/**
 * Lists the words that can be completed, based on the command tree and the command definitions. The completion scripts
 * for all shells are built from this list.
 */
import type { Command } from '../command/define.ts';
import { type Flag, longFlag } from '../command/flag.ts';
import { type Group, isLeaf, type Node } from '../command/tree.ts';

/** Defines how to complete the value of a flag or an argument. */
export type ValueKind = 'nothing' | 'word' | 'file' | 'directory' | { readonly choices: readonly string[] };

export interface FlagCompletion {
  /** The long form of the flag, including the dashes. */
  readonly long: string;
  readonly summary: string;
  readonly value: ValueKind;
}

export interface CommandCompletion {
  /** The names of the groups and of the command, separated by spaces. Empty for `meshpass` itself. */
  readonly path: string;
  readonly children: readonly { readonly name: string; readonly summary: string }[];
  readonly flags: readonly FlagCompletion[];
  /** Defines how to complete positional arguments. */
  readonly args: ValueKind;
}

const HELP: FlagCompletion = { long: '--help', summary: 'explain the command', value: 'nothing' };
const VERSION: FlagCompletion = { long: '--version', summary: 'print the version', value: 'nothing' };

/** Lists all groups and commands, in the order of the tree. */
export async function listCommandCompletions(tree: Group): Promise<readonly CommandCompletion[]> {
  const [root, ...others] = await below(tree, []);
  return [{ ...root!, flags: [HELP, VERSION] }, ...others];
}

async function below(node: Node, names: readonly string[]): Promise<readonly CommandCompletion[]> {
  const path = names.join(' ');
  if (isLeaf(node)) return [{ path, children: [], ...wordsOf((await node.load()).command) }];
  const entries = Object.entries(node.children);
  const children = entries.map(([name, { summary }]) => ({ name, summary }));
  const all = await Promise.all(entries.map(([name, child]) => below(child, [...names, name])));
  return [{ path, children, flags: [HELP], args: 'nothing' }, ...all.flat()];
}

function wordsOf({ flags, args }: Command): Pick<CommandCompletion, 'flags' | 'args'> {
  const [first] = Object.values(args);
  const known = Object.entries(flags).map(([name, flag]) => ({
    long: longFlag(name, flag),
    summary: flag.summary,
    value: valueAfter(flag),
  }));
  const argument = first?.choices
    ? { choices: first.choices }
    : /\bfiles?\b/i.test(first?.summary ?? '')
      ? 'file'
      : 'nothing';
  return { flags: [...known, HELP], args: argument };
}

function valueAfter({ value, choices }: Flag<unknown>): ValueKind {
  if (value === undefined) return 'nothing';
  if (choices) return { choices };
  if (value === '<dir>') return 'directory';
  return value === '<file>' || value === '<path>' ? 'file' : 'word';
}
