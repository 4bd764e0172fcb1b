import { type Command, defineCommand } from '../command/define.ts';
import { argument, type Flag, longFlag } from '../command/flag.ts';
import { type Group, isLeaf, type Node } from '../command/tree.ts';

/** The functions that build the completion script for each shell. */
export const SCRIPTS = {
  bash: bashScript,
  // To be sourced after compinit.
  zsh: (commands: readonly CommandCompletion[]) => `autoload -Uz bashcompinit && bashcompinit\n${bashScript(commands)}`,
  fish: fishScript,
};

/**
 * Defines the `meshpass completion` command.
 * @param tree returns the command tree, which includes this command. It is called only when the command runs
 */
export function createCompletionCommand(tree: () => Group): Command {
  return defineCommand({
    about:
      'The script completes every command, flag and fixed value of this version, and runs nothing while you type. For bash and zsh, add `source <(meshpass completion SHELL)` to ~/.bashrc, or to ~/.zshrc after compinit. For fish, write the script to ~/.config/fish/completions/meshpass.fish.',
    args: { shell: argument('bash, zsh or fish', Object.keys(SCRIPTS)) },
    flags: {},
    examples: [
      'source <(meshpass completion bash)',
      'meshpass completion fish > ~/.config/fish/completions/meshpass.fish',
    ],
    page: 'docs/interfaces/README.md',
    run: async ({ shell }) => {
      const script = SCRIPTS[shell as keyof typeof SCRIPTS](await listCommandCompletions(tree()));
      process.stdout.write(script);
    },
  });
}

// Lists the words that can be completed, based on the command tree and the command definitions. The completion
// scripts for all shells are built from this list.

/** Defines how to complete the value of a flag or an argument. */
type ValueKind = 'nothing' | 'word' | 'file' | 'directory' | { readonly choices: readonly string[] };

interface FlagCompletion {
  /** The long form of the flag, including the dashes. */
  readonly long: string;
  readonly summary: string;
  readonly value: ValueKind;
}

interface CommandCompletion {
  /** The names of the groups and of the command, separated by spaces. Empty for `meshpass` itself. */
  readonly path: string;
  readonly children: readonly { readonly name: string; readonly summary: string }[];
  readonly flags: readonly FlagCompletion[];
  /** Defines how to complete positional arguments. */
  readonly args: ValueKind;
}

const HELP: FlagCompletion = { long: '--help', summary: 'explain the command', value: 'nothing' };
const VERSION: FlagCompletion = { long: '--version', summary: 'print the version', value: 'nothing' };

/** Lists all groups and commands, in the order of the tree. */
export async function listCommandCompletions(tree: Group): Promise<readonly CommandCompletion[]> {
  const [root, ...others] = await below(tree, []);
  return [{ ...root!, flags: [HELP, VERSION] }, ...others];
}

async function below(node: Node, names: readonly string[]): Promise<readonly CommandCompletion[]> {
  const path = names.join(' ');
  if (isLeaf(node)) return [{ path, children: [], ...wordsOf((await node.load()).command) }];
  const entries = Object.entries(node.children);
  const children = entries.map(([name, { summary }]) => ({ name, summary }));
  const all = await Promise.all(entries.map(([name, child]) => below(child, [...names, name])));
  return [{ path, children, flags: [HELP], args: 'nothing' }, ...all.flat()];
}

function wordsOf({ flags, args }: Command): Pick<CommandCompletion, 'flags' | 'args'> {
  const [first] = Object.values(args);
  const known = Object.entries(flags).map(([name, flag]) => ({
    long: longFlag(name, flag),
    summary: flag.summary,
    value: valueAfter(flag),
  }));
  const argument = first?.choices
    ? { choices: first.choices }
    : /\bfiles?\b/i.test(first?.summary ?? '')
      ? 'file'
      : 'nothing';
  return { flags: [...known, HELP], args: argument };
}

function valueAfter({ value, choices }: Flag<unknown>): ValueKind {
  if (value === undefined) return 'nothing';
  if (choices) return { choices };
  if (value === '<dir>') return 'directory';
  return value === '<file>' || value === '<path>' ? 'file' : 'word';
}

/**
 * Builds the completion script for bash 3.2 and later, which does not require the bash-completion package. zsh can also
 * run it.
 * @returns a script to source
 */
function bashScript(commands: readonly CommandCompletion[]): string {
  const steps = commands.filter(({ path }) => path !== '').map(({ path }) => `      '${path}') at='${path}' ;;`);
  const values = commands.flatMap(({ path, flags }) =>
    flags
      .filter(({ value }) => value !== 'nothing')
      .map(({ long, value }) => `    '${path} ${long}') ${bashValue(value)} ; return ;;`),
  );
  const words = commands.map(({ path, children, flags, args }) => {
    const plain = [...children.map(({ name }) => name), ...(typeof args === 'object' ? args.choices : [])].join(' ');
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

/** Builds the shell code that completes a value. If the code offers no candidates, bash completes file names. */
function bashValue(value: ValueKind): string {
  if (value === 'file') return ':';
  if (value === 'directory') return `COMPREPLY=($(compgen -d -- "$cur"))`;
  if (value === 'word' || value === 'nothing') return 'compopt +o default 2>/dev/null';
  return `COMPREPLY=($(compgen -P "$given" -W '${value.choices.join(' ')}' -- "$cur"))`;
}

/**
 * Builds the fish completion script.
 * @returns a script to source, or to save as `meshpass.fish` in fish's completions directory
 */
function fishScript(commands: readonly CommandCompletion[]): string {
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
