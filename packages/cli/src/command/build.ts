/** Builds the parser for the command tree. Only the definition of the selected command is loaded. */
import { VERSION } from '@meshpass/identity/version';
import { Command as Commander, Argument as CommanderArgument, Option } from 'commander';
import type { Command, ConfigValues } from './define.ts';
import { type Argument, type Flag, longFlag } from './flag.ts';
import { formatFlag, formatHelpFooter, UNKNOWN } from './help.ts';
import type { ExitCode } from './outcome.ts';
import { printAnswer } from './outcome.ts';
import { type Group, isLeaf, type Node } from './tree.ts';

/**
 * Builds the parser for a command line.
 * @param path the names that lead to the selected command or group
 * @param command the definition of the command, or undefined if the command line selects a group
 * @param done called with the exit code of the command
 * @param config values from the configuration file, which are overridden by the command line and the environment
 */
export function buildParser(
  root: Group,
  path: readonly string[],
  command: Command | undefined,
  done: (code: ExitCode | undefined) => void,
  config: ConfigValues = {},
): Commander {
  const program = new Commander('meshpass').version(VERSION);
  program
    // Errors are reported by reportFailure(), in the format given by --output.
    .configureOutput({ outputError: () => {} })
    .configureHelp({ optionDescription: (option) => DESCRIPTIONS.get(option) ?? option.description })
    .exitOverride();
  addNode(program, root, path, { command, done, config });
  return program;
}

interface Selected {
  readonly command: Command | undefined;
  readonly done: (code: ExitCode | undefined) => void;
  readonly config: ConfigValues;
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
  { done, config }: Selected,
): void {
  parser.description(about === undefined ? summary : `${summary}\n\n${about}`);
  for (const [name, argument] of Object.entries(args)) parser.addArgument(argumentOf(name, argument));
  for (const [name, flag] of Object.entries(flags)) {
    parser.addOption(optionOf(name, flag, () => parser.getOptionValueSource(name)));
    const given = config[name];
    if (given !== undefined) parser.setOptionValueWithSource(name, configured(name, flag, given), 'config');
  }
  parser.addHelpText('after', () => formatHelpFooter(command));
  const names = Object.keys(args);
  parser.action(async (...given: unknown[]) => {
    const positional = Object.fromEntries(names.map((name, index) => [name, given[index]]));
    const options: Readonly<Record<string, unknown>> = { ...positional, ...(given[names.length] as object) };
    const outcome = await command.run(options as never);
    done(typeof outcome === 'object' ? printAnswer(outcome, options.output) : (outcome ?? undefined));
  });
}

function configured(name: string, flag: Flag<unknown>, given: readonly string[] | boolean): unknown {
  const long = longFlag(name, flag);
  if (typeof given === 'boolean') return flag.kind === 'off' ? !given : given;
  return given.reduce<unknown>((before, word) => flag.read(word, long, before), flag.kind === 'list' ? [] : undefined);
}

function argumentOf(name: string, { summary, isRequired, isVariadic, choices }: Argument<unknown>): CommanderArgument {
  const word = isVariadic ? `${name}...` : name;
  const argument = new CommanderArgument(isRequired ? `<${word}>` : `[${word}]`, summary);
  return choices ? argument.choices(choices) : argument;
}

/**
 * Whether an environment variable counts as set. An empty variable does not count, and neither does a toggle that is
 * set to a value such as `false` or `0`.
 */
function isGiven(variable: string | undefined, { kind }: Flag<unknown>): boolean {
  if (variable === '') return false;
  return kind !== 'on' || !/^(?:0|false|no|off)$/i.test(variable ?? '');
}

/**
 * Builds an option.
 * @param source returns where the current value comes from, so that a list on the command line replaces a configured
 *   one
 */
function optionOf(name: string, flag: Flag<unknown>, source: () => string | undefined): Option {
  const long = longFlag(name, flag);
  const option = new Option(flag.value === undefined ? long : `${long} ${flag.value}`, flag.summary);
  DESCRIPTIONS.set(option, formatFlag(flag));
  if (flag.env !== undefined && isGiven(process.env[flag.env], flag)) option.env(flag.env);
  if (flag.isRequired) option.makeOptionMandatory();
  if (flag.choices) option.choices(flag.choices);
  else if (flag.value !== undefined) {
    const fresh = (before: unknown) => (flag.kind === 'list' && source() === 'config' ? [] : before);
    option.argParser((text, before) => flag.read(text, long, fresh(before)));
  }
  if (flag.kind === 'list') option.default([]);
  else if (flag.kind === 'on') option.default(false);
  else if (flag.default !== undefined) option.default(flag.read(flag.default, long, undefined));
  return option;
}
