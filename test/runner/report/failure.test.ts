/** Description of a failure. */
import { stripVTControlCharacters } from 'node:util';
import { expect, it } from 'vitest';
import { describeFailure, errorLines, type FailureError } from './failure.ts';

const frame = (file: string) => ({ method: 'check', file, line: 3, column: 7 });

it('contains the error, its seed, the load, the logs and the command', () => {
  const lines = describeFailure(
    {
      title: 'a.test.ts > fails',
      errors: [{ name: 'AssertionError', message: 'two\nlines', diff: '- 1\n+ 2' }],
      seeds: ['7'],
      load: [1, 2.25, 3],
      processors: 2,
      parts: [{ name: 'broker', lines: ['{}'] }],
      repeat: 'npx vitest run a.test.ts',
    },
    '/repo/',
  );
  expect(lines.map(stripVTControlCharacters)).toEqual([
    'FAILED  a.test.ts > fails',
    '  AssertionError: two',
    '  lines',
    '  - 1',
    '  + 2',
    '  seed: 7',
    '  load: 1.0, 2.3, 3.0 (1, 5, 15 min) on 2 processors',
    '  log of broker:',
    '    {}',
    '  repeat: npx vitest run a.test.ts',
    '',
  ]);
});

it('lists frames in the repository only', () => {
  const stacks = ['/repo/test/a.ts', '/repo/node_modules/x/y.js', '/elsewhere/b.ts'].map(frame);
  expect(errorLines({ message: 'x', stacks }, '/repo/')).toEqual(['Error: x', '  at check (test/a.ts:3:7)']);
});

it('follows causes, but not without an end', () => {
  const error: { message: string; cause?: FailureError } = { message: 'x' };
  error.cause = error;
  const lines = errorLines(error, '/repo/');
  expect(lines[1]).toBe('caused by Error: x');
  expect(lines.length).toBeLessThan(10);
});
