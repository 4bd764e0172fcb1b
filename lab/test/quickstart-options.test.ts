import { expect, it } from 'vitest';
import { quickstartOptions } from '../src/quickstart/options.ts';

it.each([
  [[], {}, { help: false, keep: false, name: 'quick' }],
  [['--keep'], { MESHPASS_LAB: 'mine' }, { help: false, keep: true, name: 'mine' }],
  [['--name', 'other'], { MESHPASS_LAB: 'mine' }, { help: false, keep: false, name: 'other' }],
  [['--help'], { MESHPASS_LAB: '' }, { help: true, keep: false, name: 'quick' }],
  [['--nmae', 'x'], {}, { problem: expect.stringMatching(/^Unknown option '--nmae'/) }],
])('quickstart with %j and %j', (args, env, expected) => {
  expect(quickstartOptions(args, env)).toEqual(expected);
});
