/** Builds the parser for the command tree. Only the definition of the selected command is loaded. */
import { VERSION } from '@meshpass/identity/version';
import { Command as Commander, Argument as CommanderArgument, Option } from 'commander';
import type { Command } from './define.ts';
import { type Argument, type Flag, isSet, longFlag } from './flag.ts';
import { formatFlag, formatHelpFooter, UNKNOWN } from './help.ts';
import type { ExitCode } from './outcome.ts';
import { printAnswer } from './outcome.ts';
import { type Group, isLeaf, type Node } from './tree.ts';

/**
 * Builds the parser for a command line.
 * @param path the names that lead to the selected command or group
 * @param command the definition of the command, or undefined if the command line selects a group
 * @param done called with the exit code of the command
 */
export function buildParser(
  root: Group,
  path: readonly string[],
  command: Command | undefined,
  done: (code: ExitCode | undefined) => void,
): Commander {
  const program = new Commander('meshpass').version(VERSION);
  program
    // Errors are reported by reportFailure(), in the format given by --output.
    .configureOutput({ outputError: () => {} })
    .configureHelp({ optionDescription: (option) => DESCRIPTIONS.get(option) ?? option.description })
    .exitOverride();
  addNode(program, root, path, { command, done });
  return program;
}

interface Selected {
  readonly command: Command | undefined;
  readonly done: (code: ExitCode | undefined) => void;
}

const DESCRIPTIONS = new WeakMap<Option, string>();

function addNode(parser: Commander, node: Node, path: readonly string[] | undefined, selected: Selected): void {
  parser.description(node.summary);
  if (!isLeaf(node)) {
    parser
      .helpCommand(false)
      .addHelpText('after', () => formatHelpFooter({ exitCodes: { 4: UNKNOWN }, env: {}, ...node }));
    for (const [name, child] of Object.entries(node.children)) {
      const isOnPath = path?.[0] === name;
      const below = parser.command(name);
      if (child.heading !== undefined) below.helpGroup(`${child.heading}:`);
      addNode(below, child, isOnPath ? path.slice(1) : undefined, selected);
    }
  } else if (path !== undefined && selected.command) addDefinition(parser, node.summary, selected.command, selected);
}

function addDefinition(
  parser: Commander,
  summary: string,
  { about, args, flags, ...command }: Command,
  { done }: Selected,
): void {
  parser.description(about === undefined ? summary : `${summary}\n\n${about}`);
  for (const [name, argument] of Object.entries(args)) parser.addArgument(argumentOf(name, argument));
  for (const [name, flag] of Object.entries(flags)) parser.addOption(optionOf(name, flag));
  parser.addHelpText('after', () => formatHelpFooter(command));
  const names = Object.keys(args);
  parser.action(async (...given: unknown[]) => {
    const positional = Object.fromEntries(names.map((name, index) => [name, given[index]]));
    const options: Readonly<Record<string, unknown>> = { ...positional, ...(given[names.length] as object) };
    const outcome = await command.run(options as never);
    done(typeof outcome === 'object' ? printAnswer(outcome, options.output) : (outcome ?? undefined));
  });
}

function argumentOf(name: string, { summary, isRequired, isVariadic, choices }: Argument<unknown>): CommanderArgument {
  const word = isVariadic ? `${name}...` : name;
  const argument = new CommanderArgument(isRequired ? `<${word}>` : `[${word}]`, summary);
  return choices ? argument.choices(choices) : argument;
}

function optionOf(name: string, flag: Flag<unknown>): Option {
  const long = longFlag(name, flag);
  const option = new Option(flag.value === undefined ? long : `${long} ${flag.value}`, flag.summary);
  DESCRIPTIONS.set(option, formatFlag(flag));
  if (isSet(flag, process.env)) option.env(flag.env!);
  if (flag.isRequired) option.makeOptionMandatory();
  if (flag.choices) option.choices(flag.choices);
  else if (flag.value !== undefined) option.argParser((text, before) => flag.read(text, long, before));
  if (flag.kind === 'list') option.default([]);
  else if (flag.kind === 'on') option.default(false);
  else if (flag.default !== undefined) option.default(flag.read(flag.default, long, undefined));
  return option;
}
