/** The parts of the help that commands have in common. */
import type { Command } from './define.ts';
import { EXIT_CODES, type ExitCode } from './failure.ts';
import type { Flag } from './flag.ts';

/** `lease of a session, seconds (default: 45; env: MESHPASS_LEASE)`. */
export function flagText({ summary, choices, isRequired, default: value, defaultText, env }: Flag<unknown>): string {
  const byDefault = defaultText ?? value;
  const more = [
    ...(isRequired ? ['required'] : []),
    ...(choices ? [`one of: ${choices.join(', ')}`] : []),
    ...(byDefault !== undefined ? [`default: ${byDefault}`] : []),
    ...(env !== undefined ? [`env: ${env}`] : []),
  ];
  return more.length === 0 ? summary : `${summary} (${more.join('; ')})`;
}

/** Exit code 4, which only questions about policy have. */
export const UNKNOWN = 'policy commands: unknown, because something that decides is not understood';

/** What follows the flags of a command, or the commands of a group. */
export function afterHelp(command: Pick<Command, 'exitCodes' | 'env' | 'examples' | 'page'>): string {
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
    `More: ${command.page}. Every error ends with its [code]; docs/troubleshooting.md explains each.`,
  ].join('\n');
}

export function exitCodesOf({ exitCodes }: Pick<Command, 'exitCodes'>): readonly (readonly [ExitCode, string])[] {
  const all = { ...EXIT_CODES, ...exitCodes };
  return Object.entries(all).map(([code, meaning]) => [Number(code) as ExitCode, meaning]);
}
