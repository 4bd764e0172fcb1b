/** Shared state of the quickstart's chapters. */
import type { Lab } from '../lab.ts';
import type { Meshpass } from '../meshpass.ts';
import type { RunResult } from '../run.ts';
import type { StandIns } from '../stand-ins.ts';
import { type Story, StoryBroken } from './story.ts';

export interface Scene extends StandIns {
  readonly lab: Lab;
  readonly meshpass: Meshpass;
  readonly story: Story;
}

/** Shows a command, runs it in the workspace, and expects it to succeed. */
export async function typed(
  { lab, story }: Scene,
  argv: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<RunResult> {
  story.command(argv.map(quoted).join(' '));
  const result = await lab.exec('workspace', argv, { env });
  if (result.code !== 0) throw new StoryBroken(`${argv.join(' ')} ended with ${result.code}: ${result.stderr}`);
  return result;
}

/** @throws StoryBroken where what happened is not what should */
export function expectThat(holds: boolean, otherwise: string): asserts holds {
  if (!holds) throw new StoryBroken(otherwise);
}

function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `"${word}"`;
}
