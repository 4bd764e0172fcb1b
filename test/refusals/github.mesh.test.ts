/** Attempts at a session through GitHub that must fail, including GitHub's own outages. */

import type { AdversarialClient } from '@meshpass/lab/adversarial-client/drive';
import type { Fault } from '@meshpass/lab/github/fault';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { codespaceProof, type DataPath, expectRefused, openDataPath } from '../mesh.ts';

let dataPath: DataPath;
let adversary: AdversarialClient;

beforeAll(async () => {
  dataPath = await openDataPath();
  adversary = dataPath.adversary();
});
beforeEach(() => dataPath.github.reset());
afterAll(async () => {
  await dataPath?.github.reset();
  await dataPath?.close();
});

const refused = async (form: Record<string, string>, code: string, status = 400) => {
  const error = status === 503 ? 'temporarily_unavailable' : 'invalid_request';
  dataPath.secret(form.subject_token!);
  const answer = await adversary.enrol(form);
  return { row: await expectRefused(dataPath, answer, { status, error, code }), answer };
};

/** Person that the broker has not cached: team memberships are cached for a minute. */
async function newcomer(login: string, state: 'active' | 'pending' = 'active'): Promise<string> {
  await dataPath.github.createUser({ login, memberOf: 'acme' });
  await dataPath.github.addToTeam('acme/payments', login, state);
  return login;
}

describe('a Codespace is refused and audited if', () => {
  it("the token is another user's", async () => {
    const { name } = await dataPath.codespace('alice');
    const { token } = await dataPath.codespace('bob');
    await refused({ ...codespaceProof({ name, token }) }, 'workspace_unknown');
  });

  it("a colleague's own token names somebody else's Codespace", async () => {
    const { name } = await dataPath.codespace('alice');
    const token = await dataPath.github.createUserToken('bob');
    await refused(codespaceProof({ name, token }), 'proof_token_kind');
  });

  it.each(['ghp_', 'gho_', 'github_pat_', 'ghr_'] as const)(
    "its developer's own %s token names it, without a scope",
    async (prefix) => {
      const { name } = await dataPath.codespace('alice');
      const token = await dataPath.github.createUserTokenOf('alice', prefix);
      await dataPath.github.forgetCalls();
      await refused(codespaceProof({ name, token }), 'proof_token_kind');
      expect(await dataPath.github.calls()).toEqual([]);
    },
  );

  it('the token is of another GitHub App that its developer authorised, or of another Codespace of theirs', async () => {
    const { name } = await dataPath.codespace('alice');
    const token = await dataPath.github.createUserTokenOf('alice', 'ghu_');
    await refused(codespaceProof({ name, token }), 'workspace_repository_unreachable');
    const other = await dataPath.codespace('alice', 'acme/orders');
    await refused(codespaceProof({ name, token: other.token }), 'workspace_repository_unreachable');
  });

  it('token and name are used on another machine', async () => {
    const started = await dataPath.codespace('alice');
    dataPath.secret(started.token);
    const thief = dataPath.adversary('workspace-2');
    const first = await thief.enrol(codespaceProof(started), undefined, { ignore: true });
    await expectRefused(dataPath, first, {
      status: 400,
      error: 'use_presence_challenge',
      code: 'presence_required',
    });
    const answer = await thief.enrol(codespaceProof(started));
    const refusal = { status: 400, error: 'invalid_request', code: 'presence_unanswered' };
    const row = await expectRefused(dataPath, answer, refusal);
    // The broker now knows which Codespace was meant, but no session opened for it.
    expect(row).toMatchObject({ session_id: null, login: 'alice', workspace: `codespace:${started.id}` });
    // The host consists of GitHub's name of the Codespace and a number.
    const [forwarded] = await dataPath.github.forwarded();
    expect(forwarded).toMatch(new RegExp(`^GET ${started.name}-\\d+\\.app\\.github\\.dev/[\\w-]{43}$`));
    const opened = await adversary.enrol(codespaceProof(started));
    expect(opened).toMatchObject({ status: 200 });
    dataPath.secret((await adversary.show()).sessionToken);
  });

  it('the token is unknown to GitHub, or revoked', async () => {
    const started = await dataPath.codespace();
    await refused(codespaceProof({ ...started, token: `ghu_${'a'.repeat(36)}` }), 'proof_rejected');
    await dataPath.github.revokeToken(started.token);
    await refused(codespaceProof(started), 'proof_rejected');
  });

  it('the token is of the run before this one', async () => {
    const started = await dataPath.codespace();
    const again = await dataPath.github.startCodespace(started.name);
    await refused(codespaceProof(started), 'proof_rejected');
    expect(await adversary.enrol(codespaceProof(again))).toMatchObject({ status: 200 });
    dataPath.secret(again.token);
  });

  it.each(['Shutdown', 'ShuttingDown', 'Starting', 'Rebuilding', 'Failed', 'Archived', 'Unknown'] as const)(
    'it is %s',
    async (state) => {
      const started = await dataPath.codespace();
      await dataPath.github.setCodespaceState(started.name, state);
      await refused(codespaceProof(started), 'workspace_not_available');
    },
  );

  it('it has been deleted', async () => {
    const started = await dataPath.codespace();
    await dataPath.github.setCodespaceState(started.name, 'Deleted');
    await refused(codespaceProof(started), 'workspace_unknown');
  });

  it('it is a prebuild: the token belongs to a workflow, not to a person', async () => {
    const token = await dataPath.github.createActionsToken();
    const { name } = await dataPath.codespace();
    await refused(codespaceProof({ name, token }), 'proof_prebuild');
  });

  it('it belongs to another organisation, or to a person', async () => {
    const foreign = (owner: string, repository: string) => dataPath.github.createCodespace({ owner, repository });
    const readable = (owner: string, repository: string) =>
      dataPath.github.createCodespace({ owner, repository, tokenReadsCodespaces: true });
    for (const [owner, repository] of [
      ['mallory', 'mallory/payments-api'],
      ['alice', 'alice/dotfiles'],
    ] as const) {
      await refused(codespaceProof(await readable(owner, repository)), 'workspace_not_trusted');
      // The organisation's App sees none that is not the organisation's.
      await refused(codespaceProof(await foreign(owner, repository)), 'workspace_unknown');
    }
  });

  it('no grant names its developer, or its repository', async () => {
    const { row } = await refused(codespaceProof(await dataPath.codespace('carol')), 'access_none', 403);
    expect(row).toMatchObject({ login: 'carol', subject: 'github:583233' });
    await refused(codespaceProof(await dataPath.codespace('alice', 'acme/orders')), 'access_none', 403);
  });

  it('the developer has left the team, or not joined it yet', async () => {
    await newcomer('dora');
    await dataPath.github.removeFromTeam('acme/payments', 'dora');
    await refused(codespaceProof(await dataPath.codespace('dora')), 'access_none', 403);
    await newcomer('erin', 'pending');
    await refused(codespaceProof(await dataPath.codespace('erin')), 'access_none', 403);
  });

  it.each(['', '..', '../user', 'a/b', 'a%2fb', 'a?b', 'x'.repeat(2000), 'name\u0000', 'ñ'])(
    'its name is %j',
    async (name) => {
      const { token } = await dataPath.codespace();
      await dataPath.github.forgetCalls();
      const answer = await adversary.enrol(codespaceProof({ name, token }));
      expect(answer.status).toBe(400);
      const code = (answer.json as { error_code: string }).error_code;
      expect(['proof_malformed', 'request_malformed', 'workspace_unknown']).toContain(code);
      await expectRefused(dataPath, answer, { status: 400, error: 'invalid_request', code });
      const calls = await dataPath.github.calls();
      // The App renews its own token in that time.
      for (const call of calls.filter((one) => !/^POST \/app\/installations\/\d+\/access_tokens$/.test(one)))
        expect(call).toMatch(/^GET \/user(\/codespaces\/[\w%-]+)?$|^GET \/orgs/);
    },
  );
});

it('a developer who changed their login stays the same person; the next owner of the login does not become them', async () => {
  const subjectOf = async (answer: { json: unknown }) =>
    (answer.json as { session: { subject: string; login: string } }).session;
  const before = await adversary.enrol(codespaceProof(await dataPath.codespace('alice')));
  expect(await subjectOf(before)).toMatchObject({ subject: 'github:583231', login: 'alice' });

  await dataPath.github.renameUser('alice', 'alice-smith');
  const after = await adversary.enrol(codespaceProof(await dataPath.codespace('alice-smith')));
  expect(await subjectOf(after)).toMatchObject({ subject: 'github:583231', login: 'alice-smith' });

  await dataPath.github.createUser({ login: 'alice', memberOf: 'acme' });
  const { row } = await refused(codespaceProof(await dataPath.codespace('alice')), 'access_none', 403);
  expect(row.subject).not.toBe('github:583231');
});

const FAULTS: readonly (readonly [string, Fault, string])[] = [
  ['drops connections', { mode: 'down' }, 'issuer_unavailable'],
  ['is slow', { mode: 'slow', delayMs: 12_000 }, 'issuer_unavailable'],
  ['stops in the middle of an answer', { mode: 'stalled' }, 'issuer_unavailable'],
  ['has no calls left for us', { mode: 'rate-limited', resetSeconds: 120 }, 'issuer_rate_limited'],
  ['asks us to slow down', { mode: 'secondary-limited', retryAfterSeconds: 30 }, 'issuer_rate_limited'],
  ['answers 500', { mode: 'error', status: 500 }, 'issuer_unavailable'],
  ['answers 503', { mode: 'error', status: 503 }, 'issuer_unavailable'],
  ['is a captive portal', { mode: 'html' }, 'issuer_unavailable'],
  ['answers what its description does not', { mode: 'garbage' }, 'issuer_unavailable'],
  ['never ends its answer', { mode: 'endless' }, 'issuer_unavailable'],
  ['sends us elsewhere', { mode: 'redirect', location: 'https://idp.test:8443/stolen' }, 'issuer_unavailable'],
  ['hides Codespaces', { mode: 'down', path: '/user/codespaces' }, 'issuer_unavailable'],
  ['hides teams', { mode: 'down', path: '/orgs' }, 'issuer_unavailable'],
];

describe('no session opens, and answers ask clients to retry, while GitHub', () => {
  it.each(FAULTS)('%s', async (_, fault, code) => {
    const started = await dataPath.codespace(await newcomer('frank'));
    await dataPath.github.setFault(fault);
    const { answer } = await refused(codespaceProof(started), code, 503);
    expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0);
    if (fault.mode === 'secondary-limited') expect(Number(answer.headers['retry-after'])).toBeGreaterThanOrEqual(25);
    await dataPath.github.setFault({ mode: 'none' });
  });

  it('(and the broker sends our token to no redirect target)', async () => {
    expect((await dataPath.idp.requests()).filter((one) => one.includes('stolen'))).toEqual([]);
  });

  it('(and once GitHub is back, sessions open again without a restart)', async () => {
    const opened = await adversary.enrol(codespaceProof(await dataPath.codespace()));
    expect(opened).toMatchObject({ status: 200 });
    dataPath.secret((await adversary.show()).sessionToken);
  });
});

it('none of the refused has a session or a ServiceAccount', async () => {
  const rows = await dataPath.audit();
  const refusedRows = rows.filter((row) => row.action === 'session.open' && row.outcome === 'refused');
  expect(refusedRows.length).toBeGreaterThan(30);
  for (const row of refusedRows) expect(row.session_id).toBeNull();
  expect(await dataPath.accounts()).toEqual([]);
});

it('no audit row and no line of the log holds a token of GitHub', () => dataPath.expectNoSecretKept());
