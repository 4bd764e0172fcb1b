/** Identities of approvers, and GitHub's statements about them when they answer. */
import { parseAccess } from '@meshpass/access';
import type { Attestation } from '@meshpass/identity';
import { describe, expect, it } from 'vitest';
import {
  comparePeople,
  createIdentityLinker,
  findMissingSignIn,
  identitiesOf,
  refuseSelfApproval,
} from '../../src/admin/approval/people.ts';
import type { ReadGithub } from '../../src/attest/github/api.ts';
import { approverMemberships, withFreshMemberships } from '../../src/attest/github/approvers.ts';
import { createLosses } from '../../src/attest/github/losses.ts';
import type { LiveIndex } from '../../src/core/session/live.ts';

const LEAD: Attestation = {
  attestor: 'github-codespace',
  issuer: 'github',
  subject: 'github:2',
  login: 'bob',
  claims: {},
  teams: ['acme/leads'],
  organizationRoles: ['acme/admin'],
  notInTeams: ['acme/#7'],
  githubUser: { id: 2, login: 'bob' },
  workspace: { kind: 'codespace', key: 'codespace:2', name: 'space' },
  proofHash: 'a'.repeat(64),
};
const place = { file: 'access.yaml', line: 1, column: 1 };

describe('two people', () => {
  const [a, b] = [
    { issuer: 'github', subject: '1' },
    { issuer: 'github', subject: '2' },
  ] as const;
  const okta = (subject: string) => ({ issuer: 'https://acme.okta.com', subject });

  it.each([
    ['one subject of one issuer', [a], [a], 'same'],
    ['two subjects of one issuer', [a], [b], 'different'],
    ['no issuer in common', [a], [okta('x')], 'unknown'],
    ['a difference here and the same there', [a, okta('x')], [b, okta('x')], 'same'],
    ['a difference at the one issuer that both have', [a, okta('x')], [okta('y')], 'different'],
    ['nothing known of one', [], [a], 'unknown'],
  ] as const)('%s', (_, one, other, expected) => {
    expect(comparePeople(one, other)).toBe(expected);
    expect(comparePeople(other, one)).toBe(expected);
  });

  it('are refused as one person, or as not comparable, with the next step', () => {
    const trust = { issuers: [], audiences: [] };
    expect(() => refuseSelfApproval([a], [a], trust)).toThrow(expect.objectContaining({ code: 'approval_own' }));
    expect(() => refuseSelfApproval([a], [okta('x')], trust)).toThrow(
      expect.objectContaining({
        code: 'approval_not_comparable',
        message: expect.stringMatching(/their identity comes from github, and yours from https:\/\/acme.okta.com/),
      }),
    );
    expect(() => refuseSelfApproval([a], [b], trust)).not.toThrow();
  });

  it('without a comparable identity learn how to get one, in the names of the access file', () => {
    const { trust } = parseAccess(
      `trust:
  codespaces: {organization: acme}
  issuers:
    okta: {issuer: https://acme.okta.com, audience: meshpass, signIn: {client: cli}}
    ci: {issuer: https://ci.example, audience: meshpass}
grants: {}`,
      'access.yaml',
    );
    expect(() => refuseSelfApproval([a], [okta('x')], trust)).toThrow(
      'their identity comes from github, and yours from okta. Answer with an identity from their issuer, or ask them to sign in at yours',
    );
    expect(() => refuseSelfApproval([a], [a], trust)).toThrow(
      'This is your own request. Another person must answer it.',
    );
    const place = { file: 'access.yaml', line: 1, column: 1 };
    const leads = { place, issuer: 'okta', claims: { groups: ['leads'] } };
    expect(findMissingSignIn({ by: [leads] }, [a], trust)).toBe(
      'Approvers are identified by okta, but you are not: run "meshpass sign-in --issuer okta" first. Otherwise, no approver may be able to act.',
    );
    expect(findMissingSignIn({ by: [leads] }, [a, okta('x')], trust), 'signed in').toBeUndefined();
    expect(
      findMissingSignIn({ by: [leads, { place, team: 'acme/leads' }] }, [a], trust),
      'a team of GitHub',
    ).toBeUndefined();
    expect(
      findMissingSignIn({ by: [{ place, issuer: 'ci' }] }, [a], trust),
      'an issuer without sign-in',
    ).toBeUndefined();
  });

  it("are known by the id of GitHub and the issuer's own name for itself, not by logins", () => {
    expect(identitiesOf(LEAD)).toEqual([{ issuer: 'github', subject: '2' }]);
    const { githubUser: _, ...other } = LEAD;
    const signed = { ...other, issuer: 'okta', subject: 'okta:x', claims: { iss: 'https://acme.okta.com' } };
    expect(identitiesOf(signed)).toEqual([{ issuer: 'https://acme.okta.com', subject: 'okta:x' }]);
  });

  it('are also compared by their sign-ins: two accounts of one person count as one', () => {
    const signIn = (subject: string) => ({
      issuer: 'okta',
      subject: `okta:${subject}`,
      login: subject,
      claims: { iss: 'https://acme.okta.com' },
      amr: [],
      since: 0,
      confirmedAt: 0,
      until: 60,
    });
    const account = (id: number, subject: string) =>
      identitiesOf({ ...LEAD, githubUser: { id, login: 'bob' }, signIns: [signIn(subject)] });
    expect(account(2, 'x')).toEqual([
      { issuer: 'github', subject: '2' },
      { issuer: 'https://acme.okta.com', subject: 'okta:x' },
    ]);
    expect(comparePeople(account(2, 'x'), account(3, 'x'))).toBe('same');
    expect(comparePeople(account(2, 'x'), account(3, 'y'))).toBe('different');
    expect(comparePeople(account(2, 'x'), [okta('okta:y')])).toBe('different');
    expect(comparePeople(account(2, 'x'), [okta('okta:x')])).toBe('same');
  });

  it('are followed through live sessions, from one sign-in to the next, and not by the branch of a job', () => {
    const { trust } = parseAccess(
      `
trust:
  issuers:
    okta: {issuer: https://acme.okta.com, audience: meshpass, signIn: {client: meshpass}}
    ci: {issuer: https://ci.example, audience: meshpass}
grants: {}`,
      'access.yaml',
    );
    const signIn = (subject: string) => ({
      issuer: 'okta',
      subject,
      login: subject,
      claims: { iss: 'https://acme.okta.com' },
      amr: [],
      since: 0,
      confirmedAt: 0,
      until: 60,
    });
    const session = (id: number, ...subjects: string[]) => ({
      ...LEAD,
      githubUser: { id, login: 'bob' },
      signIns: subjects.map(signIn),
    });
    const { githubUser: _, ...other } = LEAD;
    const job = (subject: string) => ({
      ...other,
      attestor: 'oidc' as const,
      issuer: 'ci',
      subject: 'ci:main',
      claims: { iss: 'https://ci.example' },
      signIns: [signIn(subject)],
    });
    const shown = [session(1, 'x'), session(2, 'x'), session(2, 'y'), session(3, 'z'), job('x'), job('z')];
    const byId = (id: string) => ({ session: { attestation: shown[Number(id)] } });
    const live = {
      all: () => shown.map((attestation) => ({ session: { attestation } })).values(),
      byId,
    } as unknown as LiveIndex;
    const people = createIdentityLinker(live, trust);
    expect(people([a])).toEqual([a, okta('x'), b, okta('y')]);
    expect(people([okta('y')])).toEqual([okta('y'), b, okta('x'), a]);
    const main = { issuer: 'https://ci.example', subject: 'ci:main' };
    expect(people([main])).toEqual([main]);
    expect(people([], '3')).toEqual([{ issuer: 'github', subject: '3' }, okta('z')]);
  });
});

describe('memberships at the moment of an answer', () => {
  const losses = createLosses(Date.now);
  const by = [
    { place, team: 'acme/leads' },
    { place, team: 'acme/sre', teamId: 31 },
    { place, role: 'acme/member' },
  ];
  const github =
    (answers: Readonly<Record<string, unknown>>): ReadGithub =>
    async (_, path) =>
      answers[path] === undefined ? undefined : ({ status: 200, headers: new Headers(), body: answers[path] } as never);
  const member = { state: 'active', role: 'member', user: { id: 2 } };

  it('are those that GitHub confirms now, not those at the opening of the session', async () => {
    const read = github({
      '/orgs/acme/memberships/bob': member,
      '/orgs/acme': { id: 9 },
      '/orgs/acme/teams/leads/memberships/bob': { state: 'pending' },
      '/organizations/9/team/31/memberships/bob': { state: 'active' },
    });
    const fresh = await withFreshMemberships(LEAD, approverMemberships(by), read, losses);
    expect(fresh).toMatchObject({ teams: ['acme/#31'], organizationRoles: ['acme/member'] });
    expect(fresh).not.toHaveProperty('notInTeams');
  });

  it('do not include the current owner of the login, under another id', async () => {
    const read = github({
      '/orgs/acme/memberships/bob': { ...member, user: { id: 99 } },
      '/orgs/acme/teams/leads/memberships/bob': { state: 'active' },
    });
    expect((await withFreshMemberships(LEAD, approverMemberships(by), read, losses)).teams).toEqual([]);
  });

  it('are none if GitHub does not answer, and exclude one that was lost a moment ago', async () => {
    expect((await withFreshMemberships(LEAD, approverMemberships(by), undefined, losses)).teams).toEqual([]);
    const lately = createLosses(Date.now);
    lately.lose({ kind: 'team', team: 'acme/leads', user: { id: 2, login: 'bob' } });
    const read = github({
      '/orgs/acme/memberships/bob': member,
      '/orgs/acme/teams/leads/memberships/bob': { state: 'active' },
    });
    expect((await withFreshMemberships(LEAD, approverMemberships(by.slice(0, 1)), read, lately)).teams).toEqual([]);
    expect((await withFreshMemberships(LEAD, approverMemberships(by.slice(0, 1)), read, losses)).teams).toEqual([
      'acme/leads',
    ]);
  });

  it('name the denied teams that GitHub shows and that lack the person, and no team that it may hide', async () => {
    const asked = approverMemberships(
      [],
      [
        { place, team: 'acme/Contractors', teamId: 7 },
        { place, team: 'acme/hidden', teamId: 8 },
        { place, team: 'acme/blocked', teamId: 9 },
      ],
    );
    const shown = {
      '/orgs/acme': { id: 9 },
      '/organizations/9/team/7': { id: 7 },
      '/organizations/9/team/9': { id: 9 },
      '/organizations/9/team/9/memberships/bob': { state: 'active' },
    };
    const of = async (more: object) =>
      (await withFreshMemberships(LEAD, asked, github({ ...shown, ...more }), losses)).notInTeams;
    expect(await of({ '/orgs/acme/memberships/bob': member })).toEqual(['acme/#7']);
    expect(await of({ '/user/2': { id: 2, login: 'Bob' } })).toEqual(['acme/#7']);
    // The login is another's by now.
    expect(await of({ '/user/2': { id: 2, login: 'robert' } })).toBeUndefined();
  });
});
