import { expect, it } from 'vitest';
import { quickstartOptions } from '../src/quickstart/options.ts';

it.each([
  [[], {}, { help: false, keep: false, name: 'quick', denyEnded: 'revoked' }],
  [['--keep'], { MESHPASS_LAB: 'mine' }, { help: false, keep: true, name: 'mine', denyEnded: 'revoked' }],
  [['--name', 'other'], { MESHPASS_LAB: 'mine' }, { help: false, keep: false, name: 'other', denyEnded: 'revoked' }],
  [['--help'], { MESHPASS_LAB: '' }, { help: true, keep: false, name: 'quick', denyEnded: 'revoked' }],
  [['--deny-ended', 'always'], {}, { help: false, keep: false, name: 'quick', denyEnded: 'always' }],
  [['--deny-ended', 'never'], {}, { problem: '--deny-ended: never is none of always, revoked' }],
  [['--nmae', 'x'], {}, { problem: expect.stringMatching(/^Unknown option '--nmae'/) }],
])('quickstart with %j and %j', (args, env, expected) => {
  expect(quickstartOptions(args, env)).toEqual(expected);
});
