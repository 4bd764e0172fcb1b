/**
 * A page of commands as a reader would follow it: files to write, commands to run, and what they print. The page stays readable on its
 * own; what is needed to run it stands in the info strings of its code blocks, which no reader sees.
 *
 *     ```yaml access.yaml          a file of that name
 *     ```sh                        commands for the operator's machine
 *     ```sh exit 4                 the same, and the last one ends with this exit code
 *     ```sh codespace              commands for a terminal in the Codespace
 *     ```sh beside                 a command for another terminal of the operator's machine, which runs until the next one does
 *     ```text                      what the commands before it print
 *     ```sh skip: REASON           is not run, for this reason
 */

export type Place = 'operator' | 'codespace' | 'beside';

interface Located {
  /** Line number of the block's first line, from 1. */
  readonly line: number;
}
export interface FileStep extends Located {
  readonly kind: 'file';
  readonly name: string;
  readonly text: string;
}
export interface CommandStep extends Located {
  readonly kind: 'command';
  readonly place: Place;
  readonly script: string;
  /** Exit code other than 0. */
  readonly exit?: number;
  /** Lines, with `…` for anything within a line, and `...` for any number of lines. */
  readonly prints?: string;
}
export interface SkippedStep extends Located {
  readonly kind: 'skipped';
  readonly script: string;
  readonly reason: string;
}
export type Step = FileStep | CommandStep | SkippedStep;

const FENCE = /^```(\S*)[ \t]*([^\n]*)\n([\s\S]*?)^```$/gm;

/** @throws Error with the line if a block's info string is not understood */
export function readPage(markdown: string): readonly Step[] {
  const steps: Step[] = [];
  for (const { 1: language, 2: info, 3: text, index } of markdown.matchAll(FENCE)) {
    const line = markdown.slice(0, index).split('\n').length + 1;
    const before = steps.at(-1);
    if (language === 'sh') steps.push(commandOf(info!.trim(), text!, line));
    else if (language === 'text') {
      if (before?.kind !== 'command' || before.prints !== undefined)
        throw new Error(`line ${line}: output of no command`);
      steps[steps.length - 1] = { ...before, prints: text! };
    } else if (info) steps.push({ kind: 'file', name: info.trim(), text: text!, line });
    else throw new Error(`line ${line}: a block of ${language || 'no language'} does not name a file`);
  }
  return steps;
}

function commandOf(info: string, script: string, line: number): Step {
  if (info === '') return { kind: 'command', place: 'operator', script, line };
  if (info === 'codespace' || info === 'beside') return { kind: 'command', place: info, script, line };
  const [, exit] = /^exit ([1-9])$/.exec(info) ?? [];
  if (exit !== undefined) return { kind: 'command', place: 'operator', script, exit: Number(exit), line };
  const [, reason] = /^skip: (.+)$/.exec(info) ?? [];
  if (reason !== undefined) return { kind: 'skipped', script, reason, line };
  throw new Error(`line ${line}: "sh ${info}" is not understood`);
}

/**
 * Difference between printed and expected output.
 * @returns undefined if they agree
 */
export function differs(wanted: string, printed: string): string | undefined {
  const lines = wanted.trimEnd().split('\n');
  const pattern = lines.map((line) => (line.trim() === '...' ? '(?:[^\\n]*\\n)*?' : `${lineForm(line)}\\n`)).join('');
  if (new RegExp(`^${pattern}$`).test(`${printed.trimEnd()}\n`)) return undefined;
  return `the page says\n${wanted.trimEnd()}\nand it printed\n${printed.trimEnd()}`;
}

/** Columns may be wider or narrower than on the page. */
function lineForm(line: string): string {
  const pieces = line.trimEnd().split('…');
  const escaped = pieces.map((piece) => piece.replace(/[.*+?^${}()|[\]\\]/g, '\\$&').replace(/ +/g, ' +'));
  return `${escaped.join('[^\\n]*?')} *`;
}
