import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { ALL_RULES } from '../../src/lint/lint.ts';

const PAGE = readFileSync(new URL('../../../../docs/lint.md', import.meta.url), 'utf8');

test('every rule has a section with its anchor, name and severity, and every section has a rule', () => {
  const sections = [...PAGE.matchAll(/<a id="(mp\d{3})"><\/a>\n\n### (MP\d{3}) ([a-z0-9-]+) \((\w+)\)\n/g)].map(
    (match) => match.slice(1),
  );
  expect(sections).toEqual(ALL_RULES.map(({ code, name, severity }) => [code.toLowerCase(), code, name, severity]));
});

test('codes and names are unique and well-formed', () => {
  expect(new Set(ALL_RULES.map(({ code }) => code)).size).toBe(ALL_RULES.length);
  expect(new Set(ALL_RULES.map(({ name }) => name)).size).toBe(ALL_RULES.length);
  for (const { code, name } of ALL_RULES)
    expect([code, name]).toEqual([expect.stringMatching(/^MP\d{3}$/), expect.stringMatching(/^[a-z0-9-]+$/)]);
});
