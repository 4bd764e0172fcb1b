import { type Command, defineCommand } from '../command/define.ts';
import { argument } from '../command/flag.ts';
import type { Group } from '../command/tree.ts';
import { bashScript, zshScript } from '../completion/bash.ts';
import { fishScript } from '../completion/fish.ts';
import { listCommandCompletions } from '../completion/words.ts';

/** The functions that build the completion script for each shell. */
export const SCRIPTS = { bash: bashScript, zsh: zshScript, fish: fishScript };

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
