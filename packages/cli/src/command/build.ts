/** Builds the parser for the command tree, and the help texts. Only the definition of the selected command is loaded. */
import { pageUrl, VERSION } from '@meshpass/identity';
import { Command as Commander, Argument as CommanderArgument, Option } from 'commander';
import type { Command } from './define.ts';
import { type Argument, type Flag, isSet, longFlag } from './flag.ts';
import { EXIT_CODES, type ExitCode, printAnswer } from './outcome.ts';
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
    .configureHelp({ optionDescription: ({ description }) => description })
    .exitOverride();
  addNode(program, root);
  const subcommand = (parser: Commander, name: string) => parser.commands.find((one) => one.name() === name)!;
  if (command) addDefinition(path.reduce(subcommand, program), command, done);
  return program;
}

function addNode(parser: Commander, node: Node): void {
  parser.description(node.summary);
  if (isLeaf(node)) return;
  parser
    .helpCommand(false)
    .addHelpText('after', () => formatHelpFooter({ exitCodes: { 4: UNKNOWN }, env: {}, ...node }));
  for (const [name, child] of Object.entries(node.children)) {
    const below = parser.command(name);
    if (child.heading !== undefined) below.helpGroup(`${child.heading}:`);
    addNode(below, child);
  }
}

function addDefinition(
  parser: Commander,
  { about, args, flags, ...command }: Command,
  done: (code: ExitCode | undefined) => void,
): void {
  if (about !== undefined) parser.description(`${parser.description()}\n\n${about}`);
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
  const option = new Option(flag.value === undefined ? long : `${long} ${flag.value}`, formatFlag(flag));
  if (isSet(flag, process.env)) option.env(flag.env!);
  if (flag.isRequired) option.makeOptionMandatory();
  if (flag.choices) option.choices(flag.choices);
  else if (flag.value !== undefined) option.argParser((text, before) => flag.read(text, long, before));
  if (flag.kind === 'list') option.default([]);
  else if (flag.kind === 'on') option.default(false);
  else if (flag.default !== undefined) option.default(flag.read(flag.default, long, undefined));
  return option;
}

/** Formats a flag, for example as `lease of a session, seconds (default: 45; env: MESHPASS_LEASE)`. */
function formatFlag({ summary, choices, isRequired, default: value, defaultText, env }: Flag<unknown>): string {
  const byDefault = defaultText ?? value;
  const more = [
    ...(isRequired ? ['required'] : []),
    ...(choices ? [`one of: ${choices.join(', ')}`] : []),
    ...(byDefault !== undefined ? [`default: ${byDefault}`] : []),
    ...(env !== undefined ? [`env: ${env}`] : []),
  ];
  return more.length === 0 ? summary : `${summary} (${more.join('; ')})`;
}

/** The meaning of exit code 4, which only policy commands use. */
const UNKNOWN = 'policy commands: unknown, because a deciding policy cannot be evaluated';

/** Formats the end of the help text, which follows the flags of a command or the commands of a group. */
function formatHelpFooter(command: Pick<Command, 'exitCodes' | 'env' | 'examples' | 'page'>): string {
  const variables = Object.entries(command.env);
  const width = Math.max(...variables.map(([name]) => name.length));
  return [
    ...(variables.length > 0
      ? ['', 'Environment:', ...variables.map(([name, meaning]) => `  ${name.padEnd(width)}  ${meaning}`)]
      : []),
    '',
    'Exit codes:',
    ...exitCodesOf(command).map(([code, meaning]) => `  ${code}  ${meaning}`),
    '',
    'Examples:',
    ...command.examples.map((line) => `  ${line}`),
    '',
    `More: ${pageUrl(command.page)}. Every error has a [code], explained in ${pageUrl('docs/troubleshooting.md')}.`,
  ].join('\n');
}

/** Lists the exit codes of a command and their meanings. */
export function exitCodesOf({ exitCodes }: Pick<Command, 'exitCodes'>): readonly (readonly [ExitCode, string])[] {
  const all = { ...EXIT_CODES, ...exitCodes };
  return Object.entries(all).map(([code, meaning]) => [Number(code) as ExitCode, meaning]);
}
