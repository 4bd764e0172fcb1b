/** Entries of people: ids, roles, refs, environments, claims; and denials and time windows. */
import type { Attestation } from '@meshpass/identity';
import { describe, expect, it } from 'vitest';
import { approverEntry, authorize, claimsRequired, parseAccess, rolesMentioned } from '../src/index.ts';
import { ALICE, BOB, EXAMPLE, fileWith, JOB } from './shop.ts';

const decide = (attestation: Attestation, text: string, at?: number, approved?: ReadonlyMap<string, number>) =>
  authorize(attestation, parseAccess(text, 'access.yaml'), at, approved);
const granted = (attestation: Attestation, who: string) =>
  decide(attestation, fileWith({ who: `[${who}]` })).grants.length === 1;
const withRef = (attestation: Attestation, ref: string): Attestation => ({
  ...attestation,
  workspace: { ...attestation.workspace, ref },
});
const withClaims = (attestation: Attestation, claims: Attestation['claims']): Attestation => ({
  ...attestation,
  claims: { ...attestation.claims, ...claims },
});
const UNVERIFIED = withClaims(BOB, { email_verified: false });
const BY_EMAIL = '{issuer: okta, claims: {email: bob@acme.com}}';
const ADMIN: Attestation = { ...ALICE, organizationRoles: ['acme/admin'] };

describe('an entry of who', () => {
  it.each<[string, Attestation, string, boolean]>([
    [
      'by id, whatever the login is now',
      { ...ALICE, githubUser: { id: 583231, login: 'renamed' } },
      '{user_id: 583231}',
      true,
    ],
    [
      'by id, not of who took the login',
      { ...ALICE, githubUser: { id: 9, login: 'Alice' } },
      '{user_id: 583231}',
      false,
    ],
    [
      'by id and login, both',
      { ...ALICE, githubUser: { id: 9, login: 'Alice' } },
      '{user: alice, user_id: 583231}',
      false,
    ],
    ['by id, not of who is no GitHub user', BOB, '{user_id: 583231}', false],
    ['by role', ADMIN, '{role: Acme/Admin}', true],
    ['by role, only that of this organization', ADMIN, '{role: other/admin}', false],
    ['by role, not if GitHub did not confirm it', ALICE, '{role: acme/admin}', false],
    [
      'by role, not of a job without its repository',
      { ...JOB, organizationRoles: ['acme/admin'] },
      '{role: acme/admin}',
      false,
    ],
    ['by repository id, whatever its name is now', ALICE, '{repository_id: 77}', true],
    ['by repository id, not of another', ALICE, '{repository_id: 78}', false],
    ['by repository id, of a job too', JOB, '{repository_id: 77}', true],
    ['by branch, of a job', withRef(JOB, 'refs/heads/main'), '{repository_id: 77, ref: refs/heads/main}', true],
    ['by branch, as a Codespace says it', withRef(ALICE, 'main'), '{ref: refs/heads/main}', true],
    [
      'by branch, not of a job that says it short',
      withRef(JOB, 'main'),
      '{repository_id: 77, ref: refs/heads/main}',
      false,
    ],
    ['by branch, in its case', withRef(JOB, 'refs/heads/Main'), '{repository_id: 77, ref: refs/heads/main}', false],
    ['by branch, not if none is known', JOB, '{repository_id: 77, ref: refs/heads/main}', false],
    [
      'by branch, not a tag of that name',
      withRef(JOB, 'refs/tags/main'),
      '{repository_id: 77, ref: refs/heads/main}',
      false,
    ],
    ['by tags', withRef(JOB, 'refs/tags/v1.2'), '{repository_id: 77, ref: refs/tags/v*}', true],
    ['by tags, not across a slash', withRef(JOB, 'refs/tags/v1/x'), '{repository_id: 77, ref: refs/tags/v*}', false],
    [
      'by branches below',
      withRef(JOB, 'refs/heads/release/a/b'),
      '{repository_id: 77, ref: "refs/heads/release/**"}',
      true,
    ],
    [
      'by branches below, not that itself',
      withRef(JOB, 'refs/heads/release'),
      '{repository_id: 77, ref: "refs/heads/release/**"}',
      false,
    ],
    ['by environment', withClaims(JOB, { environment: 'prod' }), '{repository_id: 77, environment: prod}', true],
    ['by environment, not without one', JOB, '{repository_id: 77, environment: prod}', false],
    [
      'by environment, not by a claim of a Codespace',
      withClaims(ALICE, { environment: 'prod' }),
      '{repository_id: 77, environment: prod}',
      false,
    ],
    ['by an element of a claim', BOB, '{issuer: okta, claims: {groups: sre}}', true],
    ['by one of several values', BOB, '{issuer: okta, claims: {groups: [admin, dev]}}', true],
    ['by a number', BOB, '{issuer: okta, claims: {level: 3}}', true],
    ['by several claims, all', BOB, '{issuer: okta, claims: {groups: sre, level: 4}}', false],
    ['by a claim that is missing', BOB, '{issuer: okta, claims: {department: x}}', false],
    ['by a claim that every object has', BOB, '{issuer: okta, claims: {constructor: x}}', false],
    ['by an email that is verified', BOB, '{issuer: okta, claims: {email: bob@acme.com}}', true],
    ['by an email, not if it has no verification', UNVERIFIED, '{issuer: okta, claims: {email: bob@acme.com}}', false],
    ['by an email, not if its verification is text', withClaims(BOB, { email_verified: 'true' }), BY_EMAIL, false],
    ['by an email in an expression', BOB, `{issuer: okta, when: 'claims.email == "bob@acme.com"'}`, true],
    ['by an email in one, not unverified', UNVERIFIED, `{issuer: okta, when: 'claims.email == "bob@acme.com"'}`, false],
    ['by the name before the @', withClaims(BOB, { email: 'bob@evil.example' }), `{when: 'login == "bob"'}`, false],
    ['by a missing name, which no one has', BOB, `{when: 'login != "mallory"'}`, false],
    ['by a login of GitHub', ALICE, `{when: 'login == "Alice"'}`, true],
    [
      'by a number whose digits JSON has lost',
      withClaims(BOB, { id: 2 ** 60 }),
      `{issuer: okta, claims: {id: "${2 ** 60}"}}`,
      false,
    ],
    ['by a claim, not a part of it', BOB, '{issuer: okta, claims: {email: acme.com}}', false],
    ['by a claim, not of another issuer', BOB, '{issuer: ci, repository: acme/a, claims: {groups: sre}}', false],
    ['by the owner of a workflow', JOB, '{issuer: ci, claims: {repository_owner_id: 9}}', true],
    ['by a claim of any workflow', JOB, '{claims: {ref: refs/heads/main}}', false],
  ])('%s', (_, attestation, who, expected) => {
    expect(granted(attestation, who)).toBe(expected);
  });

  it('tells which roles GitHub must be asked about', () => {
    const text = fileWith({ who: '[{role: Acme/Member}, {role: acme/admin}, {user: a, role: acme/admin}]' });
    expect(rolesMentioned(parseAccess(text, 'f'))).toEqual(['acme/admin', 'acme/member']);
  });
});

describe('a deny list', () => {
  const DEV_GROUP = '{issuer: okta, claims: {groups: dev}}';
  const denied = (attestation: Attestation, entry: string) => {
    const everyone = '[{user_id: 583231}, {issuer: okta}, {issuer: ci, repository: acme/payments-api}]';
    const text = fileWith({ who: everyone.replace('{issuer: okta}', '{issuer: okta, when: \'issuer == "okta"\'}') });
    const without = decide(attestation, text).grants.length;
    const decision = decide(attestation, `deny: [${entry}]\n${text}`);
    expect(without).toBe(1);
    return decision.grants.length === 0 ? decision.refusals[0] : false;
  };

  it.each<[string, Attestation, string, boolean]>([
    ['by id', ALICE, '{user_id: 583231}', true],
    ['by id, of a job that the person set off', JOB, '{user_id: 583231}', true],
    ['by id, nobody else', ALICE, '{user_id: 583232}', false],
    ['by id, not if GitHub does not know the person', BOB, '{user_id: 583231}', false],
    ['by repository', ALICE, '{repository_id: 77}', true],
    ['only where all members hold', ALICE, '{user_id: 583231, repository_id: 78}', false],
    ['by claim', BOB, '{issuer: okta, claims: {groups: dev}}', true],
    ['by claim, not if it has other values', BOB, '{issuer: okta, claims: {groups: contractors}}', false],
    ['by claim, even if it is missing', BOB, '{issuer: okta, claims: {department: contractors}}', true],
    ['by claim, also in a list of objects', withClaims(BOB, { groups: [{ name: 'dev' }] }), DEV_GROUP, true],
    ['by claim, also beside objects', withClaims(BOB, { groups: ['sre', { name: 'dev' }] }), DEV_GROUP, true],
    ['by claim, also in lists in a list', withClaims(BOB, { groups: [['dev']] }), DEV_GROUP, true],
    ['by claim, even if it is an object', withClaims(BOB, { groups: { dev: true } }), DEV_GROUP, true],
    ['by claim, even if it is null', withClaims(BOB, { groups: null }), DEV_GROUP, true],
    ['by claim, not in a list of nothing', withClaims(BOB, { groups: [] }), DEV_GROUP, false],
    [
      'by number, even if JSON has lost digits of it',
      withClaims(BOB, { id: 2 ** 60 }),
      '{issuer: okta, claims: {id: 7}}',
      true,
    ],
    ['by an email that is not verified', UNVERIFIED, '{issuer: okta, claims: {email: mallory@acme.com}}', true],
    ['by claim, only those of its issuer', ALICE, '{issuer: okta, claims: {department: contractors}}', false],
    ['by expression', BOB, `{issuer: okta, when: 'claims.level < 5'}`, true],
    ['by expression, not if it is false', BOB, `{issuer: okta, when: 'claims.level > 5'}`, false],
    ['by expression, even if it cannot be decided', BOB, `{issuer: okta, when: 'claims.nothing == 1'}`, true],
    ['by ref', withRef(JOB, 'refs/pull/1/merge'), '{issuer: ci, ref: "refs/pull/**"}', true],
    ['by ref, even if none is known', JOB, '{issuer: ci, ref: "refs/pull/**"}', true],
    ['by ref, no other', withRef(JOB, 'refs/heads/main'), '{issuer: ci, ref: "refs/pull/**"}', false],
    ['by environment', withClaims(JOB, { environment: 'x' }), '{issuer: ci, environment: x}', true],
    ['by environment, not without one', JOB, '{issuer: ci, environment: x}', false],
    ['of a whole issuer', BOB, '{issuer: okta}', true],
  ])('takes everything %s', (_, attestation, entry, expected) => {
    expect(denied(attestation, entry) !== false).toBe(expected);
  });

  it('says why, with its place', () => {
    expect(denied(ALICE, '{user_id: 583231, reason: left on Monday}')).toBe(
      'grant dev: access.yaml:1:8 denied: left on Monday',
    );
    expect(denied(ALICE, '{user_id: 583231}')).toBe('grant dev: access.yaml:1:8 denied: user id 583231');
  });

  it('of one grant takes only that', () => {
    const text = `${fileWith({ who: '[{user: alice}]', more: 'except: [{user_id: 583231}]' })}  other: {who: [{user: alice}], to: [{service: a.b, port: 1}]}\n`;
    const decision = decide(ALICE, text);
    expect(decision.grants.map(({ grant }) => grant.name)).toEqual(['other']);
    expect(decision.refusals).toEqual([expect.stringMatching(/^grant dev: .* denied: user id 583231$/)]);
  });
});

describe('a grant', () => {
  const NOON = Date.parse('2026-11-24T12:00:00Z') / 1000;
  const timed = fileWith({ more: 'during: [{from: "08:00", to: "13:00"}]' });

  it('is given while a window is open, and tells until when', () => {
    expect(decide(ALICE, timed, NOON).grants).toMatchObject([{ until: NOON + 3600 }]);
  });

  it('is not granted while no window is open, or if the time is unknown', () => {
    const refusals = ['grant dev: access.yaml:11:14 the grant is not open at this time'];
    expect(decide(ALICE, timed, NOON + 3600)).toEqual({ grants: [], requestable: [], refusals });
    expect(decide(ALICE, timed)).toEqual({ grants: [], requestable: [], refusals });
  });

  it('is given at any time where it has no window', () => {
    expect(decide(ALICE, fileWith({}), NOON).grants[0]).not.toHaveProperty('until');
  });

  describe('with an approval', () => {
    const text = fileWith({
      more: 'approval: {by: [{team: acme/leads}, {user_id: 5}], count: 2, for: 30m, max: 2h, reason: optional}',
    });

    it('is not granted without one, and can be requested', () => {
      const { grants, requestable, refusals } = decide(ALICE, text, NOON);
      expect(grants).toEqual([]);
      expect(refusals).toEqual([
        'grant dev: access.yaml:11:15 it requires approval by team acme/leads or user id 5 (2 people), at most 2h',
      ]);
      expect(requestable.map(({ grant, approval }) => [grant.name, approval.max])).toEqual([['dev', 7200]]);
    });

    it('is given until the approval ends, and not a second longer', () => {
      const approved = new Map([['dev', NOON + 60]]);
      const at = (now: number) => decide(ALICE, text, now, approved);
      expect(at(NOON + 59).grants[0]).toMatchObject({ until: NOON + 60, reason: expect.stringMatching(/, approved$/) });
      expect(at(NOON + 60).grants).toEqual([]);
      expect(at(NOON + 60).requestable).toHaveLength(1);
    });

    it('is not given by an approval of another grant, or to whom "who" does not name', () => {
      expect(decide(ALICE, text, NOON, new Map([['ops', NOON + 60]])).grants).toEqual([]);
      const stranger = { ...ALICE, githubUser: { id: 99, login: 'mallory' }, login: 'mallory', teams: [] };
      const { grants, requestable } = decide(stranger, text, NOON, new Map([['dev', NOON + 60]]));
      expect([grants, requestable]).toEqual([[], []]);
    });

    it('keeps who may give it, and the bounds', () => {
      expect(parseAccess(text, 'f').grants[0]!.approval).toEqual({
        place: { file: 'f', line: 11, column: 15 },
        by: [
          { place: { file: 'f', line: 11, column: 21 }, team: 'acme/leads' },
          { place: { file: 'f', line: 11, column: 41 }, userId: 5 },
        ],
        count: 2,
        for: 1800,
        max: 7200,
        reason: 'optional',
      });
      const short = parseAccess(fileWith({ more: 'approval: {by: {team: acme/leads}}' }), 'f').grants[0]!.approval;
      expect(short).toMatchObject({ count: 1, for: 3600, max: 3600, reason: 'required' });
    });

    it('may be given by whom "by" names, and by no job', () => {
      const access = parseAccess(text, 'access.yaml');
      const { approval } = access.grants[0]!;
      const lead = { ...ALICE, teams: ['acme/leads'] };
      expect(approverEntry(approval!, lead, access)).toBe('access.yaml:11:21 team acme/leads');
      expect(approverEntry(approval!, { ...ALICE, teams: [] }, access)).toBeUndefined();
      expect(approverEntry(approval!, { ...lead, issuer: 'ci', attestor: 'oidc' }, access)).toBeUndefined();
    });
  });
});

describe('claims for an identity token', () => {
  const access = parseAccess(
    `${EXAMPLE}  finance:
    who: [{user: alice}]
    to:
      - {service: a.b, port: 80, require: {department: [finance, audit]}}
      - {service: a.c, port: 80, allow: [GET /a, {operation: POST /b, require: {groups: sre, level: 3}}]}
`,
    'f',
  );
  const claims = { ...BOB.claims, department: 'audit', email: 'bob@acme.com' };

  it('are those that a grant demands, with the values that it demands', () => {
    expect(claimsRequired(access, ['finance'], claims)).toEqual({
      department: ['audit'],
      groups: ['sre'],
      level: ['3'],
    });
  });

  it('are none of what is not demanded, not had, or had otherwise', () => {
    expect(claimsRequired(access, ['payments-dev'], claims)).toEqual({});
    expect(claimsRequired(access, ['finance'], { department: 'sales', groups: [] })).toEqual({});
    expect(claimsRequired(access, ['finance', 'constructor'], {})).toEqual({});
  });
});
