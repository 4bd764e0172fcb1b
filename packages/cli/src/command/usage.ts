/** Command line errors, reported like every other failure and with a pointer to the help. */
import { MeshpassError } from '@meshpass/identity/error';
import type { CommanderError } from 'commander';
import type { Command } from './define.ts';
import { longOf } from './flag.ts';

/**
 * Converts a parser error.
 * @param path command, such as `meshpass policy lint`
 */
export function usageError(thrown: CommanderError, path: string, command: Command | undefined): MeshpassError {
  const message = thrown.message.replace(/^error: /, '').replace(/\s*\n\s*/g, ' ');
  const flags = Object.entries(command?.flags ?? {});
  const env = flags.find(([name, flag]) => message.includes(`'${longOf(name, flag)} ${flag.value}'`))?.[1].env;
  const wrong =
    thrown.code === 'commander.missingMandatoryOptionValue' && env ? `${message}, and ${env} is not set` : message;
  const sentence = wrong.charAt(0).toUpperCase() + wrong.slice(1);
  return new MeshpassError('usage', `${sentence.replace(/[.]$/, '')}. See ${path} --help.`);
}
