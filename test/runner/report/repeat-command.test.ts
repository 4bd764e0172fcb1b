/** The command that repeats a test. */
import { execFileSync } from 'node:child_process';
import { expect, it } from 'vitest';
import { escapeRegExp, repeatCommand, shellQuote } from './repeat-command.ts';

it('selects one test of one file', () => {
  expect(repeatCommand({ project: 'mesh', file: 'test/x.mesh.test.ts', name: 'a suite > a test' })).toBe(
    "npx vitest run --project mesh test/x.mesh.test.ts -t '^a suite > a test$'",
  );
});

it('selects a suite, or a whole file', () => {
  expect(repeatCommand({ project: 'unit', file: 'x.test.ts', name: 'a suite', kind: 'suite' })).toContain(
    "-t '^a suite > '",
  );
  expect(repeatCommand({ project: 'unit', file: 'x.test.ts' })).toBe('npx vitest run --project unit x.test.ts');
});

it('sets the seeds', () => {
  expect(repeatCommand({ project: 'unit', file: 'x.test.ts', env: { CHAOS_SEED: '7' } })).toMatch(/^CHAOS_SEED=7 npx /);
});

it.each(["a user's", '$HOME `id` "x" \\ !', 'two\nlines', '^(a|b)[c]{2}*+?.$', '', '-t', 'größer > 5 %'])(
  'quotes %j so that the shell and the pattern mean exactly this',
  (name) => {
    const words = execFileSync('sh', ['-c', `printf '%s' ${shellQuote(name)}`], { encoding: 'utf8' });
    expect(words).toBe(name);
    expect(name).toMatch(new RegExp(`^${escapeRegExp(name)}$`));
    expect(escapeRegExp('a.c')).not.toBe('a.c');
  },
);
