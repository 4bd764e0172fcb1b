/** Options of `npm run stress`. */
import { expect, it } from 'vitest';
import { parseOptions, projectOf, UsageError } from './options.ts';

it('has defaults for everything but the files', () => {
  expect(parseOptions(['a.test.ts', 'b.test.ts'])).toEqual({
    files: ['a.test.ts', 'b.test.ts'],
    runs: 20,
    load: 2,
    lateStore: 0,
    pause: 0,
    output: 'text',
  });
});

it('reads every option', () => {
  const args = 'a.ts --runs 3 --load 0 --late-store 200 --pause 500 --project mesh --output json'.split(' ');
  expect(parseOptions(args)).toEqual({
    files: ['a.ts'],
    runs: 3,
    load: 0,
    lateStore: 200,
    pause: 500,
    project: 'mesh',
    output: 'json',
  });
});

it.each([[], ['a.ts', '--runs', '0'], ['a.ts', '--load', 'x'], ['a.ts', '--output', 'xml'], ['a.ts', '--unknown']])(
  'refuses %j %j %j',
  (...args) => {
    expect(() => parseOptions(args)).toThrow(UsageError);
  },
);

it('reads the project from the name of a file', () => {
  expect(
    ['a.test.ts', 'a.mesh.test.ts', 'a.cluster.test.ts', 'a.ambient.test.ts', 'test/chart/a.test.ts'].map(projectOf),
  ).toEqual(['unit', 'mesh', 'cluster', 'ambient', 'cluster']);
});
