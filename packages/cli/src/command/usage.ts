/** A command line that says what is not there: told like every other failure, with the place that explains it. */
import { MeshpassError } from '@meshpass/identity/error';
import type { Command, CommanderError } from 'commander';

/** @param argv as `process.argv` */
export function usageError(thrown: CommanderError, program: Command, argv: readonly string[]): MeshpassError {
  const command = commandOf(program, argv);
  const said = thrown.message.replace(/^error: /, '').replace(/\s*\n\s*/g, ' ');
  const env = command.options.find(({ flags }) => thrown.message.includes(`'${flags}'`))?.envVar;
  const wrong = thrown.code === 'commander.missingMandatoryOptionValue' && env ? `${said}, nor ${env} set` : said;
  const sentence = wrong.charAt(0).toUpperCase() + wrong.slice(1);
  return new MeshpassError('usage', `${sentence.replace(/[.]$/, '')}. See ${pathOf(command)} --help.`);
}

/**
 * Commander answers `--help` behind a command that does not exist with the help of all, as if nothing were wrong.
 *
 * @param argv as `process.argv`
 * @returns the command line to parse: without the help flags where the command they ask about does not exist
 */
export function withoutHelpOfNothing(program: Command, argv: readonly string[]): readonly string[] {
  const command = commandOf(program, argv);
  const path = pathOf(command).split(' ').length - 1;
  const next = argv[2 + path];
  const exists = next === undefined || next === 'help' || next.startsWith('-') || command.commands.length === 0;
  return exists ? argv : argv.filter((word) => word !== '--help' && word !== '-h');
}

/** The innermost command that a command line names. */
function commandOf(program: Command, argv: readonly string[]): Command {
  let command = program;
  for (const word of argv.slice(2)) {
    const inner = command.commands.find((one) => one.name() === word);
    if (!inner) break;
    command = inner;
  }
  return command;
}

/** `meshpass policy plan`. */
export function pathOf(command: Command): string {
  return command.parent ? `${pathOf(command.parent)} ${command.name()}` : command.name();
}
