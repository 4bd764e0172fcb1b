/** Completion script for a shell. */
import type { Group } from '../command/tree.ts';
import { bashScript } from './bash.ts';
import { fishScript } from './fish.ts';
import { commandWords } from './words.ts';
import { zshScript } from './zsh.ts';

const SCRIPTS = { bash: bashScript, zsh: zshScript, fish: fishScript } as const;

export const SHELLS = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof SHELLS)[number];

/** @returns a script for the shell to source, with every command of the tree */
export async function completionScript(shell: Shell, tree: Group): Promise<string> {
  return SCRIPTS[shell](await commandWords(tree));
}
