/** Statements of an issuer count only while the file has the same issuer, with the same clients, under its name. */
import type { Attestation, SignIn } from '@meshpass/identity';
import { describe, expect, it } from 'vitest';
import { approverEntry, authorize, isPerson, isSignInTrusted, parseAccess, whyUntrusted } from '../../src/index.ts';
import { ALICE, BOB } from '../shop.ts';

const NOW = 1_700_000_000;
const OKTA = { issuer: 'https://acme.okta.com', audience: 'meshpass', client: 'cli', operatorClient: 'ops' };
const file = (okta: Partial<typeof OKTA> = {}, name = 'okta') => {
  const { issuer, audience, client, operatorClient } = { ...OKTA, ...okta };
  return parseAccess(
    `trust:
  codespaces: {organization: acme}
  issuers:
    ${name}: {issuer: ${issuer}, audience: ${audience}, signIn: {client: ${client}, operatorClient: ${operatorClient}, subjectType: public}}
grants:
  by-proof: {who: [{issuer: ${name}}], to: [{service: orders.shop, port: 80}], approval: {by: {issuer: ${name}}}}
  by-sign-in: {who: [{user: alice, signedIn: {issuer: ${name}}}], to: [{service: orders.shop, port: 80}]}
`,
    'access.yaml',
  );
};
const signIn: SignIn = {
  issuer: 'okta',
  subject: 'okta:00u1',
  login: 'alice',
  claims: { iss: OKTA.issuer, aud: 'cli' },
  amr: [],
  since: NOW,
  confirmedAt: NOW,
  until: NOW + 60,
};
const SIGNED_IN: Attestation = { ...ALICE, signIns: [signIn] };
const PROVEN_BY_SIGN_IN: Attestation = { ...BOB, claims: signIn.claims, signIns: [signIn], provenBySignIn: true };
const OPERATOR: Attestation = { ...BOB, claims: { iss: OKTA.issuer, aud: 'ops' } };

const ANOTHER_ISSUER = { issuer: 'https://other.okta.com' };
const REPLACED: readonly [string, Partial<typeof OKTA>, string?][] = [
  ['another issuer', ANOTHER_ISSUER],
  ['another issuer by a slash', { issuer: `${OKTA.issuer}/` }],
  ['another name', {}, 'entra'],
];

describe('a grant', () => {
  const granted = (attestation: Attestation, access = file()) =>
    authorize(attestation, access, NOW, new Map([['by-proof', NOW + 60]])).grants.map(({ grant }) => grant.name);

  it.each<[string, Attestation, string]>([
    ['a proof', BOB, 'by-proof'],
    ['a sign-in that is the proof', PROVEN_BY_SIGN_IN, 'by-proof'],
    ['a sign-in', SIGNED_IN, 'by-sign-in'],
  ])('is given by %s of the issuer and client that the file has', (_, attestation, grant) => {
    expect(granted(attestation)).toEqual([grant]);
  });

  it.each(REPLACED)('is not trusted if the file has %s', (_, okta, name) => {
    for (const attestation of [BOB, PROVEN_BY_SIGN_IN, SIGNED_IN])
      expect(granted(attestation, file(okta, name))).toEqual([]);
  });

  it.each<[string, Attestation, Partial<typeof OKTA>]>([
    ['a proof for another audience', BOB, { audience: 'another' }],
    ['a sign-in of another client, as a proof', PROVEN_BY_SIGN_IN, { client: 'another' }],
    ['a sign-in of another client', SIGNED_IN, { client: 'another' }],
    ['a sign-in of a client that has become the audience', SIGNED_IN, { client: 'another', audience: 'cli' }],
    ["an operator's sign-in", OPERATOR, {}],
  ])('is not given by %s', (_, attestation, okta) => {
    expect(granted(attestation, file(okta))).toEqual([]);
  });

  it("is not trusted by a proof for the previous operators' client", () => {
    expect(granted({ ...BOB, claims: { ...BOB.claims, aud: ['other', 'meshpass'] } })).toEqual(['by-proof']);
    expect(granted({ ...BOB, claims: { ...BOB.claims, aud: ['other'] } })).toEqual([]);
  });

  it('says whom it does not trust, and that the sign-in is another one', () => {
    expect(whyUntrusted(BOB, file().trust)).toBeUndefined();
    expect(whyUntrusted(BOB, file(ANOTHER_ISSUER).trust)).toMatch(/a different issuer or client named okta/);
    const { refusals, signIns } = authorize(SIGNED_IN, file({ client: 'another' }), NOW);
    expect(refusals.join()).toMatch(/the sign-in belongs to a different issuer or client than okta in the access file/);
    expect(signIns).toEqual([{ grant: 'by-sign-in', issuer: 'okta' }]);
  });
});

describe('a person', () => {
  const { approval } = file().grants[0]!;
  it.each<[string, Attestation]>([
    ['a proof', BOB],
    ['a sign-in that is the proof', PROVEN_BY_SIGN_IN],
    ["an operator's sign-in", OPERATOR],
  ])('approves by %s, and not once the file has another issuer or client', (_, attestation) => {
    const entry = (access: ReturnType<typeof file>) => approverEntry(approval!, attestation, access, NOW);
    expect(entry(file())).toMatch(/issuer okta$/);
    expect(isPerson(attestation, file(), NOW)).toBe(true);
    for (const okta of [ANOTHER_ISSUER, { audience: 'a', client: 'b', operatorClient: 'c' }]) {
      expect(entry(file(okta))).toBeUndefined();
      expect(isPerson(attestation, file(okta), NOW)).toBe(false);
    }
  });

  it('does not match in a job whose sign-in now has another client', () => {
    const job: Attestation = { ...BOB, issuer: 'ci', claims: { iss: 'https://ci.example', aud: 'meshpass' } };
    const ci = 'ci: {issuer: https://ci.example, audience: meshpass}';
    const access = (client: string) =>
      parseAccess(
        `{trust: {issuers: {${ci}, okta: {issuer: ${OKTA.issuer}, audience: meshpass, signIn: {client: ${client}}}}}, grants: {}}`,
        'f',
      );
    expect(isPerson({ ...job, signIns: [signIn] }, access('cli'), NOW)).toBe(true);
    expect(isPerson({ ...job, signIns: [signIn] }, access('another'), NOW)).toBe(false);
  });
});

it('a sign-in is not trusted if the issuer no longer has a sign-in', () => {
  const { trust } = parseAccess(
    `{trust: {issuers: {okta: {issuer: ${OKTA.issuer}, audience: cli}}}, grants: {}}`,
    'access.yaml',
  );
  expect(isSignInTrusted(signIn, file().trust)).toBe(true);
  expect(isSignInTrusted(signIn, trust)).toBe(false);
});
