/** Each claim of the README names a test that exists, or is marked as a limit. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';

const PAGE = new URL('../../docs/claims.md', import.meta.url);

const rows = readFileSync(PAGE, 'utf8')
  .split('\n')
  .filter((line) => line.startsWith('| ') && !/^\| (\*\*|---|Claim \|)/.test(line));

const citations = (text: string) =>
  [...text.matchAll(/\[[^\]]+\]\(([^)]+)\): ((?:"[^"]+"(?:, )?)+)/g)].flatMap(([, path, titles]) =>
    [...titles!.matchAll(/"([^"]+)"/g)].map(([, title]) => ({ path: path!, title: title! })),
  );

describe('the claims', () => {
  it('are many', () => {
    expect(rows.length).toBeGreaterThan(30);
  });

  it.each(rows)('%s', (row) => {
    const cited = citations(row);
    if (!/\| limit\b/.test(row)) expect(cited).not.toEqual([]);
    for (const { path, title } of cited) expect(readFileSync(new URL(path, PAGE), 'utf8'), path).toContain(title);
  });
});
