/** Record of a session's sign-ins that their provider has ended. */
import type { EndedSignIn, SignIn } from '@meshpass/identity';
import { describe, expect, it } from 'vitest';
import { addEndedSignIn, isSignInEnded } from '../../src/core/sign-in/sign-in.ts';

type Of = Partial<Pick<SignIn, 'issuer' | 'subject' | 'sid' | 'authTime'>>;
const signIn = (of: Of = {}) => ({ issuer: 'okta', subject: 'okta:ann', ...of }) as SignIn;

/** Ended one after the other, the first at the second 100. */
function after(...ended: readonly Of[]): { readonly endedSignIns: readonly EndedSignIn[] } {
  const one = (endedSignIns: readonly EndedSignIn[], of: Of, index: number) =>
    addEndedSignIn({ endedSignIns }, signIn(of), { at: 100 + index });
  return { endedSignIns: ended.reduce(one, []) };
}

describe('a sign-in that was ended stays so', () => {
  it.each<[string, readonly Of[], Of]>([
    ['after another session of the provider', [{ sid: 'a' }, { sid: 'b' }], { sid: 'a' }],
    ['after somebody else', [{ sid: 'a' }, { subject: 'okta:bob' }], { sid: 'a', authTime: 99 }],
    ['after one at another issuer', [{ sid: 'a' }, { issuer: 'entra' }], { sid: 'a' }],
    ['whatever ends twenty times after it, by its time', [{ sid: 'a' }, ...sids(20)], { sid: 'a', authTime: 99 }],
    ['where the same was reported again', [{ sid: 'a' }, { sid: 'a' }], { sid: 'a', authTime: 200 }],
    ['where nothing tells it from the ended one', [{ sid: 'a' }, {}], { sid: 'c' }],
  ])('%s', (_, ended, of) => {
    expect(isSignInEnded(after(...ended), signIn(of))).toBe(true);
  });

  it.each<[string, readonly Of[], Of]>([
    ['in another session than all of those', [{ sid: 'a' }, { sid: 'b' }], { sid: 'c' }],
    ['later than all of those', [{}, { subject: 'okta:bob' }], { authTime: 200 }],
    ['by somebody else', [{ sid: 'a' }], { subject: 'okta:bob' }],
    ['at another issuer', [{ sid: 'a' }], { issuer: 'entra', sid: 'a' }],
  ])('and one %s is new', (_, ended, of) => {
    expect(isSignInEnded(after(...ended), signIn(of))).toBe(false);
  });
});

it('keeps twenty of each issuer', () => {
  const { endedSignIns } = after({ issuer: 'entra' }, ...sids(40));
  expect(endedSignIns.map(({ issuer, sid }) => `${issuer} ${sid}`)).toEqual([
    'entra undefined',
    ...sids(40)
      .slice(20)
      .map(({ sid }) => `okta ${sid}`),
  ]);
});

it('keeps the later time of the same', () => {
  const endedSignIns = addEndedSignIn(after({ sid: 'a' }), signIn({ sid: 'a' }), { at: 50 });
  expect(endedSignIns).toEqual([{ issuer: 'okta', subject: 'okta:ann', sid: 'a', signedOutAt: 100 }]);
});

function sids(count: number): readonly { readonly sid: string }[] {
  return Array.from({ length: count }, (_, index) => ({ sid: `s${index}` }));
}
