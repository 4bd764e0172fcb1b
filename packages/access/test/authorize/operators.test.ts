/** `operators` of an access file: what is refused, where, and who has which role. */
import type { Attestation } from '@meshpass/identity';
import { describe, expect, it } from 'vitest';
import { approverEntry, operatorRoles, parseAccess } from '../../src/index.ts';

const FILE = (operators: string, signIn = ', signIn: {client: cli, scopes: [groups]}') => `trust:
  codespaces: {organization: acme}
  issuers:
    okta: {issuer: https://acme.okta.com, audience: meshpass${signIn}}
    ci: {issuer: https://token.actions.githubusercontent.com, audience: meshpass}
operators:
  ${operators}
grants: {}
`;

function problemOf(text: string): string {
  try {
    parseAccess(text, 'access.yaml');
    return 'none';
  } catch (thrown) {
    return (thrown as Error).message;
  }
}

const attestation = (claims: Attestation['claims']): Attestation => ({
  attestor: 'oidc',
  issuer: 'okta',
  subject: 'okta:00u1',
  login: 'mona',
  teams: [],
  proofHash: 'a',
  workspace: { kind: 'other', key: 'other:okta:00u1', name: 'mona' },
  claims: { iss: 'https://acme.okta.com', aud: 'cli', sub: '00u1', ...claims },
});

describe('refused is', () => {
  it.each([
    ['a GitHub login', 'admin: [{user: mona}]', /:7:11 .*does not attest "user"/],
    ['a GitHub user', 'admin: [{user_id: 1, issuer: okta}]', /:7:11 .*does not attest "user_id"/],
    ['a team', 'viewer: [{team: acme/leads}]', /:7:12 .*does not attest "team"/],
    [
      'GitHub as the issuer',
      'viewer: [{issuer: github, when: subject != ""}]',
      /:7:12 operators cannot sign in with GitHub/,
    ],
    [
      'an unknown issuer',
      'viewer: [{issuer: otka, claims: {a: b}}]',
      /:7:12 unknown issuer "otka" \(did you mean "okta"\?\)/,
    ],
    ['an issuer of jobs', 'viewer: [{issuer: ci, claims: {a: b}}]', /:7:12 people cannot sign in at "ci"/],
    ['an entry without an issuer', 'viewer: [{claims: {a: b}}]', /:7:12 add "issuer"/],
    ['everybody of an issuer', 'admin: [{issuer: okta}]', /:7:11 everyone who can sign in at "okta" would be admin/],
    ['an unknown role', 'root: [{issuer: okta, claims: {a: b}}]', /:7:3 unknown key "root"/],
    ['a role without entries', 'admin: []', /:7:10 admin: the role has no entries/],
    ['a session of a day', 'session: 24h', /:7:12 session: /],
    [
      'a ServiceAccount without its namespace',
      'serviceAccounts: [{serviceAccount: ci, roles: [viewer]}]',
      /:7:38 .*use NAMESPACE\/NAME/,
    ],
    [
      'a ServiceAccount with an unknown role',
      'serviceAccounts: [{serviceAccount: a/b, roles: [root]}]',
      /:7:51 roles are viewer, approver/,
    ],
    [
      'a ServiceAccount twice',
      'serviceAccounts: [{serviceAccount: a/b, roles: [viewer]}, {serviceAccount: a/b, roles: [admin]}]',
      /:7:61 a\/b is already in "serviceAccounts"/,
    ],
    [
      'the second person of earlier versions',
      'secondPerson: [sessions.close-all]',
      /:7:3 "secondPerson" was removed in favor of review in Git: .*remove this key/,
    ],
    [
      'the time between confirmations of earlier versions',
      'confirm: 10m',
      /:7:3 "confirm" was removed in favor of a fixed interval: .*Remove this key/,
    ],
  ])('%s', (_, operators, problem) => {
    expect(problemOf(FILE(operators))).toMatch(problem);
  });

  it('an entry of an issuer without sign-in', () => {
    expect(problemOf(FILE('admin: [{issuer: okta, claims: {a: b}}]', ''))).toMatch(
      /:7:11 people cannot sign in at "okta": set trust\.issuers\.okta\.signIn/,
    );
  });

  it.each(['kubernetes', 'break-glass'])('an issuer that the audit log could not tell from others: %s', (name) => {
    const text = FILE(`admin: [{issuer: ${name}, claims: {a: b}}]`).replace('okta:', `${name}:`);
    expect(problemOf(text)).toMatch(
      /:7:11 the audit log uses the name "[a-z-]+" for .*: rename this issuer in trust\.issuers/,
    );
  });

  it.each([
    ['a client with a space', '{client: "a b"}', /is not a valid client id/],
    ['openid as a scope', '{client: a, scopes: [openid]}', /without openid, which is always requested/],
    ['a secret', '{client: a, secret: b}', /unknown key "secret"/],
    ['an operatorClient with a space', '{client: a, operatorClient: "a b"}', /:4:\d+ .*is not a valid client id/],
    ['one without a character', '{client: a, operatorClient: ""}', /:4:\d+ operatorClient: /],
    ['one that is longer than any', `{client: a, operatorClient: ${'b'.repeat(513)}}`, /:4:\d+ operatorClient: /],
    ['one without a client', '{operatorClient: b}', /:4:\d+ "client" is missing/],
    [
      'one client under both names',
      '{client: a, operatorClient: a}',
      /:4:99 operatorClient: must differ from "client"/,
    ],
    [
      'the audience of proofs',
      '{client: a, operatorClient: meshpass}',
      /:4:99 operatorClient: must differ from "audience"/,
    ],
    [
      'subjects of two clients, and one client',
      '{client: a, subjectType: public}',
      /:4:\d+ subjectType: only applies with an "operatorClient"/,
    ],
    ['subjects of another kind', '{client: a, subjectType: same}', /:4:\d+ subjectType: /],
  ])('signIn with %s', (_, signIn, problem) => {
    expect(problemOf(FILE('session: 1h', `, signIn: ${signIn}`))).toMatch(problem);
  });

  it('signIn of GitHub Actions', () => {
    const text = FILE('session: 1h').replace(
      'actions.githubusercontent.com, audience: meshpass',
      'actions.githubusercontent.com, audience: meshpass, signIn: {client: a}',
    );
    expect(problemOf(text)).toMatch(
      /:\d+:\d+ signIn: GitHub Actions issues tokens to jobs, and people cannot sign in there/,
    );
  });

  it.each([
    ['an approver', 'by: {issuer: okta, claims: {a: b}}'],
    ['an approver of any issuer', `by: {when: 'subject == "okta:00u1"'}`],
    ['a reviewer', 'by: {team: acme/leads}, emergency: {review: {issuer: okta, claims: {a: b}}}'],
  ])('%s who may have another `sub` as an operator than in a workspace', (_, people) => {
    const grant = `{who: [{user: mona}], to: [{service: a.b, port: 80}], approval: {${people}}}`;
    const of = (signIn: string) =>
      problemOf(FILE('session: 1h', `, signIn: {client: a${signIn}}`).replace('grants: {}', `grants:\n  g: ${grant}`));
    const problem = /:9:\d+ .*"okta" may issue a different "sub" for "operatorClient".*signIn\.subjectType: public/;
    expect(of(', operatorClient: b')).toMatch(problem);
    expect(of(', operatorClient: b, subjectType: pairwise')).toMatch(problem);
    expect([of(', operatorClient: b, subjectType: public'), of('')]).toEqual(['none', 'none']);
  });

  it('the approval of an operator whom only a file that is not in force names as a reviewer', () => {
    const access = (signIn: string) =>
      parseAccess(FILE('session: 1h', `, signIn: {client: cli${signIn}}`), 'access.yaml');
    const by = [{ place: { file: 'a', line: 1, column: 1 }, issuer: 'okta', claims: { groups: ['sre'] } }];
    const of = (aud: string, signIn: string) => {
      const claims = { iss: 'https://acme.okta.com', aud, groups: ['sre'] };
      return approverEntry({ by }, attestation(claims), access(signIn)) !== undefined;
    };
    expect([of('ops', ', operatorClient: ops'), of('cli', ', operatorClient: ops')]).toEqual([false, true]);
    expect([of('ops', ', operatorClient: ops, subjectType: public'), of('cli', '')]).toEqual([true, true]);
  });

  it('operators of an included file', () => {
    const include = () => ({ text: 'operators: {session: 1h}\n' });
    expect(() => parseAccess(`include: [b.yaml]\n${FILE('session: 1h')}`, 'access.yaml', { include })).toThrow(
      /b\.yaml:1:1 only the first file may have "operators"/,
    );
  });
});

describe('a role', () => {
  it('is of who signed in with the client that the file names for operators now', () => {
    const claims = (aud: unknown) => ({ iss: 'https://acme.okta.com', aud, groups: ['sre'] });
    const of = (aud: unknown, signIn: string) => {
      const access = parseAccess(FILE('viewer: [{issuer: okta, claims: {groups: sre}}]', `, signIn: ${signIn}`), 'a');
      const { roles, signInAgain = false } = operatorRoles(attestation(claims(aud)), access);
      return [roles.map(({ role }) => role), signInAgain];
    };
    const [one, two] = ['{client: cli}', '{client: cli, operatorClient: ops}'];
    expect([of('cli', one), of('ops', one)]).toEqual([
      [['viewer'], false],
      [[], true],
    ]);
    expect([of('cli', two), of('ops', two), of(['ops'], two)]).toEqual([
      [[], true],
      [['viewer'], false],
      [['viewer'], false],
    ]);
  });

  const access = parseAccess(
    FILE(`viewer: [{issuer: okta, claims: {groups: [dev, ops]}}]
  admin: [{issuer: okta, when: 'claims.sub == "00u1" && "ops" in claims.groups'}]
deny: [{issuer: okta, claims: {department: contractors}}]`),
    'access.yaml',
  );
  const rolesOf = (claims: Attestation['claims']) =>
    operatorRoles(attestation({ department: 'it', ...claims }), access).roles.map(
      ({ role, place }) => `${role} ${place.line}`,
    );

  it('comes from the first entry that holds, with its place', () => {
    expect(rolesOf({ groups: ['ops'] })).toEqual(['viewer 7', 'admin 8']);
    expect(rolesOf({ groups: ['dev'] })).toEqual(['viewer 7']);
    expect(rolesOf({ groups: ['hr'] })).toEqual([]);
  });

  it('is not given where a claim is missing, nor to whom the file denies', () => {
    expect(rolesOf({})).toEqual([]);
    expect(rolesOf({ groups: ['ops'], department: 'contractors' })).toEqual([]);
  });

  it('is not given to a token of another issuer under the name, or of another client', () => {
    expect(rolesOf({ groups: ['ops'], iss: 'https://evil.example' })).toEqual([]);
    expect(rolesOf({ groups: ['ops'], aud: 'meshpass' })).toEqual([]);
  });
});
