/** Every claim of the security model names the test that shows it, or is marked as a limit or a premise. */
import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';

const PAGE = new URL('../../docs/security-model.md', import.meta.url);
/** Marks a claim that no test can show: trusted parties, exclusions from the scope, and known limits. */
const PREMISE = 'premise';

const lines = readFileSync(PAGE, 'utf8').split('\n');
const isNote = (line: string) => /^\[\^[\w-]+\]: /.test(line);
const notes = new Map(
  lines.filter(isNote).map((line) => {
    const [, id, text] = /^\[\^([\w-]+)\]: (.*)$/.exec(line)!;
    return [id!, text!] as const;
  }),
);

/** Rows of tables, and sentences of paragraphs and list items. */
function claims(): string[] {
  const body = lines.filter((line) => !isNote(line)).join('\n');
  return body
    .split(/\n{2,}|\n(?=\||- |\d+\. |#)/)
    .map((block) => block.replace(/\s*\n\s*/g, ' ').trim())
    .filter((block) => block !== '' && !block.startsWith('#') && !/^\|[ |-]+\|$/.test(block) && !isHeader(block))
    .flatMap((block) => (block.startsWith('|') ? [block] : sentences(block)));
}

const isHeader = (row: string) => row.startsWith('| Adversary') || row.startsWith('| What | Lives');
const sentences = (block: string) => block.split(/(?<!^\d\.)(?<=[.?](?:\[\^[\w-]+\])*) (?=[A-Z`*[])/);
const refs = (text: string) => [...text.matchAll(/\[\^([\w-]+)\]/g)].map(([, id]) => id!);

describe('the security model', () => {
  it.each(claims())('%s', (claim) => {
    expect(refs(claim), 'a reference to a test, or to the note of premises').not.toEqual([]);
    for (const id of refs(claim)) expect([...notes.keys()], 'the notes').toContain(id);
  });

  const used = new Set(claims().flatMap(refs));
  it.each([...notes.keys()])('has a use for the note %s', (id) => {
    expect(used).toContain(id);
  });

  it.each([...notes].filter(([id]) => id !== PREMISE))('names existing tests: %s', (_, note) => {
    const named = [...note.matchAll(/\[[^\]]+\]\(([^)]+)\): "([^"]+)"/g)];
    expect(named).not.toEqual([]);
    for (const [, path, title] of named) {
      const file = new URL(path!, PAGE);
      expect(existsSync(file), path).toBe(true);
      expect(readFileSync(file, 'utf8'), `a test of that name in ${path}`).toContain(title);
    }
  });
});
