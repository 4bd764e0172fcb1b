/** Selection of the issuer for `meshpass sign-in` without `--issuer`. */
import { expect, it } from 'vitest';
import { type SignInBrokerClient, SignIns } from '../../src/sign-in/sign-ins.ts';

const lacks = (issuer: string) => ({ grant: `needs-${issuer}`, issuer });

/** @returns the issuer of the started sign-in */
async function begin(lacking: readonly { grant: string; issuer: string }[], issuers?: readonly string[]) {
  let begun: string | undefined;
  const stopped = new Error('the issuer is chosen');
  const broker = {
    read: async () => ({ sign_ins: [], lacking, ...(issuers && { issuers }) }),
    offer: async (issuer: string) => {
      begun = issuer;
      throw stopped;
    },
  } as unknown as SignInBrokerClient;
  const signIns = new SignIns({
    broker,
    ask: async () => ({ status: 500, json: undefined }),
    jkt: 'jkt',
    accessToken: () => 'mps_1',
    onWaiting: () => {},
    now: Date.now,
    random: Math.random,
    log: () => {},
  });
  await signIns.begin().catch((thrown) => {
    if (thrown !== stopped) throw thrown;
  });
  return begun;
}

it.each([
  ['the one that a grant lacks', [lacks('okta')], ['okta', 'corp'], 'okta'],
  ['the only one if no grant lacks any', [], ['okta'], 'okta'],
])('signs in at %s', async (_, lacking, issuers, expected) => {
  expect(await begin(lacking, issuers)).toBe(expected);
});

it.each([
  ['those that grants lack', [lacks('okta'), lacks('corp')], ['okta', 'corp', 'other'], /one of okta, corp\.$/],
  ['all if no grant lacks any', [], ['okta', 'corp'], /--issuer NAME, one of okta, corp\.$/],
  ['none if no user can sign in', [], [], /has no issuer at which users can sign in/],
  ['none without a session', [], undefined, /none of your grants is waiting for a sign-in/],
])('requires an issuer and lists %s', async (_, lacking, issuers, message) => {
  await expect(begin(lacking, issuers)).rejects.toMatchObject({
    code: 'usage',
    message: expect.stringMatching(message),
  });
});
