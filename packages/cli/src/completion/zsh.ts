/** Completion for zsh. */
import type { CommandWords, Value } from './words.ts';

/** @returns a script to source after compinit, or to store as `_meshpass` in a directory in `fpath` */
export function zshScript(commands: readonly CommandWords[]): string {
  const steps = commands
    .filter(({ path }) => path !== '')
    .map(({ path }) => `      '${path}') at='${path}'; last=$i ;;`);
  const cases = commands.map((one) => `    '${one.path}')\n${argumentsOf(one)}\n      ;;`);
  return `#compdef meshpass
# zsh completion for meshpass: source <(meshpass completion zsh)
_meshpass() {
  local at='' last=1 i
  local -a commands
  for ((i = 2; i < CURRENT; i++)); do
    case "\${at:+$at }\${words[i]}" in
${steps.join('\n')}
    esac
  done
  # What follows the command's own name.
  words=("\${(@)words[last,-1]}")
  (( CURRENT -= last - 1 ))
  case "$at" in
${cases.join('\n')}
  esac
}
if [ "\${funcstack[1]}" = _meshpass ]; then
  _meshpass "$@"
else
  compdef _meshpass meshpass
fi
`;
}

function argumentsOf({ children, flags, args }: CommandWords): string {
  const options = flags.map(({ long, summary, value }) => {
    const takes = value === 'nothing' ? '' : `:value:${action(value)}`;
    return quoted(`${long}${value === 'nothing' ? '' : '='}[${plain(summary)}]${takes}`);
  });
  if (children.length > 0) {
    const described = children.map(({ name, summary }) => quoted(`${name}:${summary}`));
    return `      commands=(${described.join(' ')})
      if [[ "\${words[CURRENT]}" == -* ]]; then _arguments -S ${options.join(' ')}; else _describe command commands; fi`;
  }
  const positional = args === 'nothing' ? [] : [quoted(`*:argument:${action(args)}`)];
  return `      _arguments -S ${[...options, ...positional].join(' ')}`;
}

function action(value: Value): string {
  if (value === 'file') return '_files';
  if (value === 'directory') return '_files -/';
  return typeof value === 'object' ? `(${value.choices.join(' ')})` : ' ';
}

/** Escapes the separators inside an argument of _arguments. */
function plain(text: string): string {
  return text.replace(/[[\]:\\]/g, (mark) => `\\${mark}`);
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
