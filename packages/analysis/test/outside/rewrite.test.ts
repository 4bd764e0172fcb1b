/** Tests before and after a rewrite, for every path of a small alphabet. */
import { expect, it } from 'vitest';
import { type Call, meets } from '../../src/diff/formula/call.ts';
import { parsePathTest, passesTest } from '../../src/diff/formula/text-test.ts';
import { type PathRewrite, preRewriteCondition, type Rewrite, rewrittenPath } from '../../src/routes/rewrite.ts';

const LETTERS = ['/', 'a', 'b'];
const PATHS = Array.from({ length: 6 }, (_, length) => length).flatMap((length) =>
  words(length).map((word) => `/${word}`),
);
const PATTERNS = [
  '*',
  '/',
  '/a',
  '/ab',
  '/b/a',
  '/a*',
  '/b*',
  '/b/*',
  '*a',
  '*/b',
  '*b/a',
  '/b/{*}',
  '/{*}/a',
  '/b/{**}',
  '/{**}/a',
];
const PREFIXES = ['/', '/a', '/a/'];
const REPLACEMENTS = ['/', '/b', '/b/', '/ba'];

function words(length: number): readonly string[] {
  return length === 0 ? [''] : words(length - 1).flatMap((word) => LETTERS.map((letter) => word + letter));
}

function callOf(path: string): Call {
  return { flags: new Set(), texts: new Map([['path', path]]), lists: new Map(), addresses: new Map() };
}

const rewrites = PREFIXES.flatMap((prefix) =>
  REPLACEMENTS.flatMap((by): readonly PathRewrite[] => [
    { whole: false, prefix, ignoreCase: false, by, segments: false },
    { whole: true, by },
  ]),
);

it('translates a test of the new path to the old one', () => {
  let compared = 0;
  for (const path of rewrites) {
    const rewrite: Rewrite = { path, headers: [] };
    for (const pattern of PATTERNS) {
      const test = parsePathTest(pattern)!;
      const condition = preRewriteCondition(rewrite, { op: 'text', field: 'path', test }, 'BASE')!;
      for (const old of path.whole ? PATHS : PATHS.filter((one) => one.startsWith(path.prefix))) {
        compared++;
        expect({ path, pattern, old, met: meets(callOf(old), condition) }).toEqual({
          path,
          pattern,
          old,
          met: passesTest(test, rewrittenPath(path, old)),
        });
      }
    }
  }
  expect(compared).toBeGreaterThan(10_000);
});

it('does not know a path whose rest the workload resolves', () => {
  const path: PathRewrite = { whole: false, prefix: '/a', ignoreCase: false, by: '/', segments: false };
  const test = parsePathTest('/x')!;
  const condition = preRewriteCondition({ path, headers: [] }, { op: 'text', field: 'path', test }, 'BASE');
  expect(JSON.stringify(condition)).toContain('opaque:');
});
