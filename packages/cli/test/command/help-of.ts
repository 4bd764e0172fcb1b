/** Commands and their help, for tests. */
import { buildParser } from '../../src/command/build.ts';
import type { Command } from '../../src/command/define.ts';
import { findCommand, type Group, isLeaf, listLeafCommands, type Node } from '../../src/command/tree.ts';
import { TREE } from '../../src/program.ts';

export interface NamedCommand {
  /** Command line without flags: `meshpass policy lint`. */
  readonly name: string;
  readonly words: readonly string[];
  readonly summary: string;
  readonly command: Command;
}

export async function allCommands(): Promise<readonly NamedCommand[]> {
  return await Promise.all(
    listLeafCommands(TREE).map(async ([words, { summary, load }]) => {
      const { command } = await load();
      return { name: ['meshpass', ...words].join(' '), words, summary, command };
    }),
  );
}

export function groups(
  node: Node = TREE,
  words: readonly string[] = [],
): readonly (readonly [readonly string[], Group])[] {
  if (isLeaf(node)) return [];
  return [[words, node], ...Object.entries(node.children).flatMap(([name, child]) => groups(child, [...words, name]))];
}

/** @param command absent for a group */
export async function helpOf(words: readonly string[], command?: Command): Promise<string> {
  let help = '';
  const parser = buildParser(TREE, words, command, () => {});
  for (const one of [parser, ...parser.commands, ...parser.commands.flatMap(({ commands }) => commands)])
    one.configureOutput({
      writeOut: (part) => {
        help += part;
      },
    });
  await parser.parseAsync([...words, '--help'], { from: 'user' }).catch(() => {});
  return help;
}

/** The words of the part of a shell line that calls us. */
export function wordsOf(line: string): readonly string[] {
  const [, call = ''] = /\bmeshpass (.*?)(?:\)"?(?: .*)?)?(?: [|>] .*)?$/.exec(line) ?? [];
  return [...call.matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain!);
}

/** Parses a command line as the command does, without running it. @throws CommanderError, MeshpassError */
export async function parse(words: readonly string[], command: Command): Promise<readonly string[]> {
  const selected = findCommand(TREE, words);
  let isRun = false;
  const recorded: Command = {
    ...command,
    run: () => {
      isRun = true;
    },
  };
  await buildParser(TREE, selected.path, recorded, () => {}).parseAsync(selected.words as string[], { from: 'user' });
  if (!isRun) throw new Error(`${words.join(' ')} is not carried out`);
  return selected.path;
}
