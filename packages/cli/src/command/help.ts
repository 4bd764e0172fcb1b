/** Formats the sections that all help texts have in common. */
import { pageUrl } from '@meshpass/identity/documentation/url';
import type { Command } from './define.ts';
import type { Flag } from './flag.ts';
import { EXIT_CODES, type ExitCode } from './outcome.ts';

/** Formats a flag, for example as `lease of a session, seconds (default: 45; env: MESHPASS_LEASE)`. */
export function formatFlag({ summary, choices, isRequired, default: value, defaultText, env }: Flag<unknown>): string {
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
export const UNKNOWN = 'policy commands: unknown, because a deciding policy cannot be evaluated';

/** Formats the end of the help text, which follows the flags of a command or the commands of a group. */
export function formatHelpFooter(command: Pick<Command, 'exitCodes' | 'env' | 'examples' | 'page'>): string {
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
