/** What can be typed, from the tree of commands and their definitions: the shells' scripts are made from this. */
import type { Command } from '../command/define.ts';
import { type Flag, longOf } from '../command/flag.ts';
import { type Group, isLeaf, type Node } from '../command/tree.ts';

/** What follows a flag, or stands as an argument. */
export type Value = 'nothing' | 'word' | 'file' | 'directory' | { readonly choices: readonly string[] };

export interface FlagWords {
  /** With its dashes. */
  readonly long: string;
  readonly summary: string;
  readonly value: Value;
}

export interface CommandWords {
  /** Names of the groups and of the command, joined by a blank; empty for `meshpass` itself. */
  readonly path: string;
  readonly children: readonly { readonly name: string; readonly summary: string }[];
  readonly flags: readonly FlagWords[];
  /** Words without a flag. */
  readonly args: Value;
}

const HELP: FlagWords = { long: '--help', summary: 'explain the command', value: 'nothing' };
const VERSION: FlagWords = { long: '--version', summary: 'print the version', value: 'nothing' };

/** Every group and command, in the order of the tree. */
export async function commandWords(tree: Group): Promise<readonly CommandWords[]> {
  const [root, ...others] = await below(tree, []);
  return [{ ...root!, flags: [HELP, VERSION] }, ...others];
}

async function below(node: Node, names: readonly string[]): Promise<readonly CommandWords[]> {
  const path = names.join(' ');
  if (isLeaf(node)) return [{ path, children: [], ...wordsOf((await node.load()).command) }];
  const entries = Object.entries(node.children);
  const children = entries.map(([name, { summary }]) => ({ name, summary }));
  const all = await Promise.all(entries.map(([name, child]) => below(child, [...names, name])));
  return [{ path, children, flags: [HELP], args: 'nothing' }, ...all.flat()];
}

function wordsOf({ flags, args }: Command): Pick<CommandWords, 'flags' | 'args'> {
  const [first] = Object.values(args);
  const known = Object.entries(flags).map(([name, flag]) => ({
    ...{ long: longOf(name, flag), summary: flag.summary, value: valueAfter(flag) },
  }));
  const argument = first?.choices
    ? { choices: first.choices }
    : /\bfiles?\b/i.test(first?.summary ?? '')
      ? 'file'
      : 'nothing';
  return { flags: [...known, HELP], args: argument };
}

function valueAfter({ value, choices }: Flag<unknown>): Value {
  if (value === undefined) return 'nothing';
  if (choices) return { choices };
  if (value === '<dir>') return 'directory';
  return value === '<file>' || value === '<path>' ? 'file' : 'word';
}
