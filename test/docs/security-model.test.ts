/** Every claim of the security model links to the tests that show it, or is marked as a limit or a premise. */
import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';

const PAGE = new URL('../../docs/security-model.md', import.meta.url);
const TESTS = new URL('../../docs/testing/security-model.md', import.meta.url);
/** Marks a claim that no test can show: trusted parties, exclusions from the scope, and known limits. */
const PREMISE = 'ᵖ';

const body = readFileSync(PAGE, 'utf8');
const rows = new Map(
  [...readFileSync(TESTS, 'utf8').matchAll(/^\| ([\w-]+)<a id="\1"><\/a> \| (.*) \|$/gm)].map(
    ([, id, tests]) => [id!, tests!] as const,
  ),
);

/** Rows of tables, and sentences of paragraphs and list items. */
function claims(): string[] {
  return body
    .split(/\n{2,}|\n(?=\||- |\d+\. |#)/)
    .map((block) => block.replace(/\s*\n\s*/g, ' ').trim())
    .filter((block) => block !== '' && !block.startsWith('#') && !/^\|[ |-]+\|$/.test(block) && !isHeader(block))
    .flatMap((block) => (block.startsWith('|') ? [block] : sentences(block)));
}

const isHeader = (row: string) => row.startsWith('| Adversary') || row.startsWith('| What | Lives');
const sentences = (block: string) => block.split(/(?<!^\d\.)(?<=[.?](?:ᵖ|\[ᵗ\]\([^)]*\))*) (?=[A-Z`*[])/);
const refs = (text: string) => [...text.matchAll(/\[ᵗ\]\(([^)]*)\)/g)].map(([, link]) => link!);
const linkTo = (id: string) => `testing/security-model.md#${id}`;

describe('the security model', () => {
  it.each(claims())('%s', (claim) => {
    const links = refs(claim);
    if (!claim.includes(PREMISE)) expect(links, 'a link to tests, or the mark of premises').not.toEqual([]);
    const known = [...rows.keys()].map(linkTo);
    for (const link of links) expect(known).toContain(link);
  });

  const used = new Set(refs(body));
  it.each([...rows.keys()])('links to the tests of %s', (id) => {
    expect(used).toContain(linkTo(id));
  });

  it.each([...rows])('names existing tests: %s', (_, tests) => {
    const named = [...tests.matchAll(/\[[^\]]+\]\(([^)]+)\): ((?:"[^"]+"(?:, )?)+)/g)];
    expect(named).not.toEqual([]);
    for (const [, path, titles] of named) {
      const file = new URL(path!, TESTS);
      expect(existsSync(file), path).toBe(true);
      const text = readFileSync(file, 'utf8');
      for (const [, title] of titles!.matchAll(/"([^"]+)"/g))
        expect(text, `a test of that name in ${path}`).toContain(title);
    }
  });

  it('has the tests of each claim in one row', () => {
    expect(readFileSync(TESTS, 'utf8').match(/^\| .*<a id=/gm)).toHaveLength(rows.size);
  });
});
