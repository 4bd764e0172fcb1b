import type { Attestation } from '@meshpass/identity';
import { describe, expect, it } from 'vitest';
import { authorize, parseAccess } from '../src/index.ts';
import type { Access } from '../src/model.ts';
import { ALICE, BOB, EXAMPLE, fileWith, JOB } from './shop.ts';

const decide = (who: string, attestation: Attestation) =>
  authorize(attestation, parseAccess(fileWith({ who }), 'access.yaml'));

describe('authorize', () => {
  it.each<readonly [string, string, Attestation]>([
    ['her team and repository', '[{team: acme/payments, repository: acme/payments-*}]', ALICE],
    ['her login, in any case', '[{user: aLiCe}]', ALICE],
    ['her Codespace', '[{issuer: github}]', ALICE],
    ['the second entry', '[{user: zoe}, {team: ACME/Payments}]', ALICE],
    ['what CEL sees', `[{when: '"acme/payments" in teams'}]`, ALICE],
    ['the claims of an issuer', `[{issuer: okta, when: '"sre" in claims.groups'}]`, BOB],
    ['claims without naming the issuer', `[{when: 'claims.email == "bob@acme.com"'}]`, BOB],
    ['everyone of an issuer', '[{issuer: okta}]', BOB],
    ['the repository of a job', '[{repository: acme/payments-*}]', JOB],
    ['the claims of a job of a named issuer', `[{issuer: ci, when: 'claims.repository_owner_id == "9"'}]`, JOB],
    ['the actor of a job in a named repository', '[{issuer: ci, repository: acme/payments-api, user: alice}]', JOB],
  ])('grants by %s', (_, who, attestation) => {
    const decision = decide(who, attestation);
    expect(decision.grants.map(({ grant }) => grant.name)).toEqual(['dev']);
    expect(decision.grants[0]?.reason).toMatch(/^access\.yaml:9:\d+ (user|team|repository|issuer|when) /);
    expect(decision.refusals).toEqual([]);
  });

  it.each<readonly [string, string, Attestation, RegExp]>([
    ['a team by another id', '[{team: acme/payments, team_id: 31}]', ALICE, /not in team acme\/#31 \(acme\/payments\)/],
    ['another team', '[{team: acme/admins}]', ALICE, /not in team acme\/admins/],
    [
      'one member of two that does not hold',
      '[{team: acme/payments, repository: acme/web}]',
      ALICE,
      /repository is acme\/Payments-API, not acme\/web/,
    ],
    ['another login', '[{user: alice2}]', ALICE, /user is Alice, not alice2/],
    ['another issuer', '[{issuer: okta}]', ALICE, /issuer is github, not okta/],
    ['CEL that does not hold', `[{when: 'login == "zoe"'}]`, ALICE, /"when" is false/],
    ['CEL that fails', `[{when: 'claims.email == "x"'}]`, ALICE, /cannot evaluate "when": /],
    ['a login of the same spelling at another issuer', '[{user: bob}]', BOB, /does not attest a GitHub user/],
    [
      'a login that a generic issuer claims to be of GitHub',
      '[{user: bob}]',
      { ...BOB, githubUser: { id: 1, login: 'bob' } },
      /does not attest a GitHub user/,
    ],
    [
      'teams that a generic issuer claims',
      '[{team: acme/payments}]',
      { ...BOB, teams: ['acme/payments'] },
      /does not attest a GitHub user, team or repository/,
    ],
    [
      'a repository that a generic issuer claims',
      '[{repository: acme/*}]',
      { ...BOB, workspace: ALICE.workspace },
      /does not attest a GitHub user/,
    ],
    [
      'a Codespace without a user',
      '[{user: alice}]',
      { ...ALICE, githubUser: undefined } as unknown as Attestation,
      /not a GitHub user/,
    ],
    [
      'a job that another person started as Alice',
      '[{user: alice}]',
      JOB,
      /a GitHub Actions token only matches entries that set its repository/,
    ],
    [
      'a job of the right repository run as Alice, where the issuer is not named',
      '[{user: alice, repository: acme/payments-api}]',
      JOB,
      /user and team also require issuer and repository/,
    ],
    ['a job by its claims alone', `[{when: 'login == "alice"'}]`, JOB, /only matches entries that set its repository/],
  ])('refuses %s', (_, who, attestation, reason) => {
    const decision = decide(who, attestation);
    expect(decision.grants).toEqual([]);
    expect(decision.refusals).toEqual([expect.stringMatching(reason)]);
    expect(decision.refusals[0]).toMatch(/^grant dev: access\.yaml:9:\d+ /);
  });

  it('says of every alternative why it does not hold', () => {
    expect(decide('[{user: zoe}, {team: acme/admins}]', ALICE).refusals).toEqual([
      'grant dev: access.yaml:9:11 user is Alice, not zoe; access.yaml:9:24 not in team acme/admins',
    ]);
  });

  it('gives every grant that matches and a line for every other', () => {
    const text = `${EXAMPLE}  ops: {who: [{user: alice}], to: [{service: web.dev, port: 80}]}\n  sre: {who: [{user: zoe}], to: [{service: web.dev, port: 80}]}\n`;
    const decision = authorize(ALICE, parseAccess(text, 'access.yaml'));
    expect(decision.grants.map(({ grant, reason }) => [grant.name, reason])).toEqual([
      ['payments-dev', 'access.yaml:10:9 team acme/payments, repository acme/payments-*'],
      ['ops', 'access.yaml:18:15 user alice'],
    ]);
    expect(decision.refusals).toHaveLength(1);
  });

  it.each<readonly [string, Attestation]>([
    ['a Codespace if none is trusted', ALICE],
    ['an issuer that left the file', BOB],
    ['an OIDC proof that calls itself github', { ...BOB, issuer: 'github' }],
    ['a Codespace that calls itself by another name', { ...ALICE, issuer: 'okta' }],
  ])('refuses %s', (_, attestation) => {
    const access: Access = { ...parseAccess(EXAMPLE, 'f'), trust: { issuers: [], audiences: [] } };
    expect(authorize(attestation, access)).toMatchObject({
      grants: [],
      requestable: [],
      refusals: [expect.stringMatching(/is not trusted/)],
    });
  });

  it('never matches by an entry without members', () => {
    const access = parseAccess(fileWith({}), 'f');
    const emptied: Access = {
      ...access,
      grants: access.grants.map((grant) => ({ ...grant, who: [{ place: grant.place }] })),
    };
    expect(authorize(ALICE, emptied).grants).toEqual([]);
  });
});
