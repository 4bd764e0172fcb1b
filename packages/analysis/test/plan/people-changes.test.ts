import { parseAccess } from '@meshpass/access';
import { describe, expect, it } from 'vitest';
import { fileWith } from '../../../access/test/shop.ts';
import { peopleChanges } from '../../src/plan/people-changes.ts';

const changes = (before: string, after: string) =>
  peopleChanges(parseAccess(before, 'a'), parseAccess(after, 'a')).map(
    ({ who, does, grant }) => `${who} ${does} ${grant}`,
  );
const who = (entries: string) => fileWith({ who: `[${entries}]` });

describe('what a change of the access file means for people', () => {
  it.each([
    ['nothing where only places move', who('{user: a}'), `# a line more\n${who('{user: a}')}`, []],
    [
      'an alternative that comes and one that goes',
      who('{user_id: 5}'),
      who('{role: acme/admin}'),
      ['role acme/admin may now hold dev', 'user id 5 may no longer hold dev'],
    ],
    [
      'a claim more',
      who('{issuer: okta, claims: {a: b}}'),
      who('{issuer: okta, claims: {a: [b, c]}}'),
      ['issuer okta, claim a b or c may now hold dev', 'issuer okta, claim a b may no longer hold dev'],
    ],
    [
      'who is denied, whatever the reason',
      fileWith({}),
      `deny: [{user_id: 5, reason: left}]\n${fileWith({})}`,
      ['user id 5 is now denied every grant'],
    ],
    [
      'nothing where only the reason changes',
      `deny: [{user_id: 5, reason: left}]\n${fileWith({})}`,
      `deny: [{user_id: 5}]\n${fileWith({})}`,
      [],
    ],
    [
      'an exception that goes',
      fileWith({ more: 'except: [{user_id: 5}]' }),
      fileWith({}),
      ['user id 5 is no longer denied dev'],
    ],
    [
      'the time',
      fileWith({}),
      fileWith({ more: 'during: [{days: [mon]}]' }),
      ['the time in which it is open changes for dev'],
    ],
    [
      'an approval',
      fileWith({ more: 'approval: {by: {user_id: 5}}' }),
      fileWith({}),
      ['what it needs (approval by user id 5, at most 1h before, no approval after) changes for dev'],
    ],
    [
      'an emergency, which those may take who may ask',
      fileWith({ more: 'approval: {by: {user_id: 5}}' }),
      fileWith({ more: 'approval: {by: {user_id: 5}, emergency: {}}' }),
      [
        expect.stringMatching(/, at most 30m, reviewed within 24h by user id 5 may now in an emergency take dev$/),
        'what it needs (approval by user id 5, at most 1h before, approval by user id 5, at most 1h; in an emergency taken without it by whoever may ask, at most 30m, reviewed within 24h by user id 5 after) changes for dev',
      ],
    ],
    [
      'an emergency that fewer may take',
      fileWith({ more: 'approval: {by: {user_id: 5}, emergency: {who: [{user_id: 6}, {user_id: 7}]}}' }),
      fileWith({ more: 'approval: {by: {user_id: 5}, emergency: {who: {user_id: 6}}}' }),
      [
        'user id 7 may no longer in an emergency take dev',
        expect.stringContaining('taken without it by user id 6, at most 30m'),
      ],
    ],
    [
      'an alternative of who, beside an approval',
      fileWith({ more: 'approval: {by: {user_id: 5}}' }),
      fileWith({ who: '[{user: alice}, {user: bob}]', more: 'approval: {by: {user_id: 5}}' }),
      ['user bob, with approval by user id 5, at most 1h may now hold dev'],
    ],
  ])('is %s', (_, before, after, expected) => {
    expect(changes(before, after)).toEqual(expected);
  });
});
