/** The access file changes while GitHub is asked about an approver. */
import { type Access, authorize, parseAccess } from '@meshpass/access';
import type { Attestation } from '@meshpass/identity';
import { describe, expect, it } from 'vitest';
import { recordAnswer } from '../../src/admin/approval/answer.ts';
import type { ApprovalParts } from '../../src/admin/approval/parts.ts';
import type { GrantRequest } from '../../src/admin/approval/request.ts';
import { createLosses } from '../../src/attest/github/losses.ts';
import { createAuditEvent } from '../../src/audit/log/event.ts';

const file = (team: string, deny = '') =>
  parseAccess(
    `
trust: {codespaces: {organization: acme}}
${deny}
grants:
  dev: {who: [{user: alice}], to: [{service: orders.shop, port: 80}], approval: {by: {team: acme/${team}}, reason: optional}}`,
    'access.yaml',
  );
const person = (id: number, login: string): Attestation => ({
  attestor: 'github-codespace',
  issuer: 'github',
  subject: `github:${id}`,
  login,
  claims: {},
  teams: [],
  githubUser: { id, login },
  workspace: { kind: 'codespace', key: `codespace:${id}`, name: 'space' },
  proofHash: 'a'.repeat(64),
});
const REQUEST: GrantRequest = {
  id: 'a'.repeat(24),
  session: 's',
  person: { issuer: 'github', subject: 'github:1', login: 'alice' },
  workspace: 'codespace:1',
  identities: [{ issuer: 'github', subject: '1' }],
  grant: 'dev',
  seconds: 600,
  asked_at: 1,
  answer_by: 9e9,
  needed: 1,
  state: 'pending',
  answers: [],
};

describe('an access file that changes while GitHub is asked', () => {
  it.each([
    ['names another team', () => file('security'), ['leads'], 'approval_forbidden'],
    ['names another team, of which the approver is', () => file('security'), ['leads', 'security'], undefined],
    [
      'denies a team',
      () => file('leads', 'deny: [{team: acme/blocked, team_id: 7}]'),
      ['leads', '#7'],
      'approval_forbidden',
    ],
    [
      'denies a team of which the approver is not',
      () => file('leads', 'deny: [{team: acme/blocked, team_id: 7}]'),
      ['leads'],
      undefined,
    ],
  ] as const)('%s', async (_, changed, teams, code) => {
    let access: Access = file('leads');
    const decided = decide(
      () => access,
      teams,
      () => {
        access = changed();
      },
    );
    if (code === undefined) expect(await decided).toMatchObject({ state: 'approved' });
    else await expect(decided).rejects.toMatchObject({ code });
  });
});

function decide(access: () => Access, teams: readonly string[], onAsked: () => void) {
  const live = {
    session: { id: 's', attestation: { ...person(1, 'alice'), notInTeams: ['acme/#7'] }, principals: [] },
  };
  const answers = new Map<string, unknown>([
    ['/orgs/acme', { id: 9 }],
    ['/orgs/acme/memberships/bob', { state: 'active', role: 'member', user: { id: 2 } }],
    ['/organizations/9/team/7', { id: 7 }],
    ...teams.map((team): [string, unknown] => [
      team === '#7' ? '/organizations/9/team/7/memberships/bob' : `/orgs/acme/teams/${team}/memberships/bob`,
      { state: 'active' },
    ]),
  ]);
  const parts = {
    book: {
      get: () => REQUEST,
      decideWith: async (_: unknown, request: GrantRequest) => request,
    },
    clock: Date.now,
    authorize,
    losses: createLosses(Date.now),
    live: { byId: () => live, all: () => [live].values() },
    mesh: { inForce: () => true, access },
    read: async (_: string, path: string) => {
      onAsked();
      const body = answers.get(path);
      return body === undefined ? undefined : { status: 200, headers: new Headers(), body };
    },
  } as unknown as ApprovalParts;
  const event = createAuditEvent('approval.answer', {}, Date.now, (length) => Buffer.alloc(length));
  return recordAnswer(parts, {
    approver: { attestation: person(2, 'bob'), via: 'workspace' },
    order: { id: REQUEST.id, decision: 'approve' },
    event,
  });
}
