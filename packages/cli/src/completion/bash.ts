/**
 * Builds the completion scripts for bash 3.2 and later, without requiring the bash-completion package, and for zsh,
 * which can run the bash script.
 */
import type { CommandCompletion, ValueKind } from './words.ts';

/**
 * Builds the bash completion script.
 * @returns a script to source
 */
export function bashScript(commands: readonly CommandCompletion[]): string {
  const steps = commands.filter(({ path }) => path !== '').map(({ path }) => `      '${path}') at='${path}' ;;`);
  const values = commands.flatMap(({ path, flags }) =>
    flags
      .filter(({ value }) => value !== 'nothing')
      .map(({ long, value }) => `    '${path} ${long}') ${bashValue(value)} ; return ;;`),
  );
  const words = commands.map(({ path, children, flags, args }) => {
    const plain = [...children.map(({ name }) => name), ...choicesOf(args)].join(' ');
    const files = args === 'file' ? ' files=1' : '';
    return `    '${path}') plain='${plain}' flags='${flags.map(({ long }) => long).join(' ')}'${files} ;;`;
  });
  return `# bash completion for meshpass: source <(meshpass completion bash)
_meshpass() {
  local cur="\${COMP_WORDS[COMP_CWORD]}" flag="\${COMP_WORDS[COMP_CWORD - 1]}" at='' plain='' flags='' files='' given='' i
  COMPREPLY=()
  # --flag=value is three words, and one in zsh.
  if [ "$cur" = '=' ]; then cur=''; elif [ "$flag" = '=' ]; then flag="\${COMP_WORDS[COMP_CWORD - 2]}"; fi
  case "$cur" in --*=*) flag="\${cur%%=*}" given="$flag=" cur="\${cur#*=}" ;; esac
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "\${at:+$at }\${COMP_WORDS[i]}" in
${steps.join('\n')}
    esac
  done
  case "$at $flag" in
${values.join('\n')}
  esac
  case "$at" in
${words.join('\n')}
  esac
  case "$cur" in
    -*) COMPREPLY=($(compgen -W "$flags" -- "$cur")) ;;
    *) COMPREPLY=($(compgen -W "$plain" -- "$cur")) ;;
  esac
  [ -n "$files" ] || compopt +o default 2>/dev/null
}
complete -o default -F _meshpass meshpass
`;
}

/**
 * Builds the zsh completion script.
 * @returns a script to source after compinit
 */
export function zshScript(commands: readonly CommandCompletion[]): string {
  return `autoload -Uz bashcompinit && bashcompinit\n${bashScript(commands)}`;
}

/** Builds the shell code that completes a value. If the code offers no candidates, bash completes file names. */
function bashValue(value: ValueKind): string {
  if (value === 'file') return ':';
  if (value === 'directory') return `COMPREPLY=($(compgen -d -- "$cur"))`;
  if (value === 'word' || value === 'nothing') return 'compopt +o default 2>/dev/null';
  return `COMPREPLY=($(compgen -P "$given" -W '${value.choices.join(' ')}' -- "$cur"))`;
}

function choicesOf(value: ValueKind): readonly string[] {
  return typeof value === 'object' ? value.choices : [];
}
