/** The scripts of `meshpass completion`, run in their shells. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ensureCommand } from '@meshpass/lab/install/debian';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { listCommandCompletions, SCRIPTS } from '../../src/commands/completion.ts';
import { TREE } from '../../src/program.ts';

let folder: string;

beforeAll(async () => {
  for (const shell of ['zsh', 'fish'] as const) await ensureCommand(shell);
  folder = mkdtempSync(join(tmpdir(), 'meshpass-completion-'));
  for (const shell of ['bash', 'zsh', 'fish'] as const)
    writeFileSync(join(folder, shell), SCRIPTS[shell](await listCommandCompletions(TREE)));
  writeFileSync(join(folder, 'access.yaml'), '');
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Bash's proposals for the last word of a line; `=` separates words, as in readline. */
function inBash(line: string): readonly string[] {
  const words = line.split(/ |(?==)|(?<==)/);
  const quoted = words.map((word) => `'${word}'`).join(' ');
  const script = `source ./bash; COMP_WORDS=(${quoted}); COMP_CWORD=${words.length - 1}; _meshpass; printf '%s\\n' "\${COMPREPLY[@]}"`;
  return run('bash', ['--norc', '-c', script]).split('\n').filter(Boolean).sort();
}

function inFish(line: string): readonly string[] {
  const proposed = run('fish', ['--no-config', '-c', `source ./fish; complete -C '${line}'`]);
  return proposed
    .split('\n')
    .filter(Boolean)
    .map((one) => one.split('\t')[0]!)
    .sort();
}

/** Text on the line of an interactive zsh after the tab key. */
function inZsh(line: string): string {
  const script = `
    zmodload zsh/zpty; zpty z zsh -f -i
    zpty -w z "PS1=''; setopt no_beep; unset zle_bracketed_paste; autoload -Uz compinit; compinit -u -D; source ./zsh; bindkey -e; echo REA''DY"
    while zpty -r z got; do [[ $got == *READY* ]] && break; done
    zpty -w -n z '${line}'$'\\t'
    zpty -w -n z $'\\C-aecho \\'<\\C-e>\\'\\n'
    while zpty -r z got; do [[ $got == '<'* ]] && break; done
    print -r -- $got; zpty -d z`;
  return /<(.*)>/.exec(run('zsh', ['-f', '-c', script]))?.[1] ?? '';
}

function run(shell: string, args: readonly string[]): string {
  return execFileSync(shell, args, {
    cwd: folder,
    encoding: 'utf8',
    env: { ...process.env, TERM: 'dumb', HOME: folder },
    // It blocks the test's own thread: no other code would end a shell that waits.
    timeout: 120_000,
  });
}

describe('bash', () => {
  it.each([
    ['meshpass pol', ['policy']],
    ['meshpass policy pl', ['plan']],
    ['meshpass policy lint --fail-on ', ['error', 'never', 'note', 'warning']],
    ['meshpass policy lint --fail-on=w', ['warning']],
    ['meshpass serve --codespace-p', ['--codespace-presence']],
    ['meshpass --ver', ['--version']],
    ['meshpass completion ', ['bash', 'fish', 'zsh']],
    // The name of a group as the value of a flag is no command.
    ['meshpass serve --data policy --lea', ['--lease']],
  ])('completes %s', (line, proposed) => {
    expect(inBash(line)).toEqual(proposed);
  });

  it('leaves the completion of files to bash', () => {
    expect(inBash('meshpass access check acc')).toEqual([]);
    expect(run('bash', ['--norc', '-c', 'source ./bash; complete -p meshpass'])).toContain('-o default');
  });
});

describe('fish', () => {
  it.each([
    ['meshpass pol', ['policy']],
    ['meshpass policy pl', ['plan']],
    ['meshpass policy lint --fail-on ', ['error', 'never', 'note', 'warning']],
    ['meshpass serve --codespace-p', ['--codespace-presence']],
    ['meshpass completion ', ['bash', 'fish', 'zsh']],
    ['meshpass access check acc', ['access.yaml']],
    ['meshpass serve --access acc', ['access.yaml']],
  ])('completes %s', (line, proposed) => {
    expect(inFish(line)).toEqual(proposed);
  });
});

describe('zsh', () => {
  it.each([
    ['meshpass pol', 'meshpass policy'],
    ['meshpass policy pl', 'meshpass policy plan'],
    ['meshpass policy lint --fail-on=w', 'meshpass policy lint --fail-on=warning'],
    ['meshpass completion f', 'meshpass completion fish'],
    ['meshpass access check acc', 'meshpass access check access.yaml'],
  ])('completes %s', (line, completed) => {
    expect(inZsh(line)).toBe(completed);
  });
});
