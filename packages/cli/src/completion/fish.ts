/** Builds the completion script for fish. */
import type { CommandCompletion, ValueKind } from './words.ts';

/**
 * Builds the fish completion script.
 * @returns a script to source, or to save as `meshpass.fish` in fish's completions directory
 */
export function fishScript(commands: readonly CommandCompletion[]): string {
  const paths = commands.filter(({ path }) => path !== '').map(({ path }) => quoted(path));
  return `# fish completion for meshpass: meshpass completion fish | source
set -g __meshpass_commands ${paths.join(' ')}
function __meshpass_is
    set -l at
    for word in (commandline -opc)[2..-1]
        set -l longer (string join ' ' -- $at $word)
        contains -- $longer $__meshpass_commands; and set at $longer
    end
    test "$at" = "$argv[1]"
end
complete -c meshpass -f
${commands.flatMap(linesOf).join('\n')}
`;
}

function linesOf({ path, children, flags, args }: CommandCompletion): readonly string[] {
  const line = `complete -c meshpass -n ${quoted(`__meshpass_is "${path}"`)}`;
  return [
    ...children.map(({ name, summary }) => `${line} -a ${name} -d ${quoted(summary)}`),
    ...flags.map(({ long, summary, value }) => `${line} -l ${long.slice(2)}${takes(value)} -d ${quoted(summary)}`),
    ...(args === 'file' ? [`${line} -F`] : []),
    ...(typeof args === 'object' ? [`${line} -a ${quoted(args.choices.join(' '))}`] : []),
  ];
}

function takes(value: ValueKind): string {
  if (value === 'nothing') return '';
  if (value === 'file') return ' -r -F';
  if (value === 'directory') return ` -x -a '(__fish_complete_directories)'`;
  return value === 'word' ? ' -x' : ` -x -a ${quoted(value.choices.join(' '))}`;
}

function quoted(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", `\\'`)}'`;
}
