/** What the broker has learnt to be over is believed of nobody any more: not by memory, not by an answer under way, not after a restart. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { StartedCodespace } from '@meshpass/lab/github/admin-client';
import { type RunningGithub, startGithub } from '@meshpass/lab/github/start';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { SETTLE_SECONDS } from '../../src/attest/github/losses.ts';
import { asSession, type Enrolled } from '../harness/broker.ts';
import { type GithubHarness, grantBy, opened, present, startGithubHarness } from '../harness/github.ts';

const EVENT_TOKEN = 'event-token-of-the-tests-0123456789abcdef';
const PATIENCE = { timeout: 60_000, interval: 20 };
const TEAM = [grantBy('team', { team: 'acme/payments' })];

let github: RunningGithub;
let harness: GithubHarness;
const dir = mkdtempSync(join(tmpdir(), 'meshpass-losses-'));
const eventTokenFile = join(dir, 'events');
let onTheWay: (url: URL, answer: Response) => Promise<Response> = async (_, answer) => answer;

const trusting = (grants = TEAM, organization = 'acme') =>
  harness.mesh.setAccess(grants, [], { codespaces: { organization } });
const settle = () => {
  harness.clockAhead += SETTLE_SECONDS * 1000 + 500;
};
const codespace = (more: { billableOwner?: string } = {}) =>
  github.admin.createCodespace({
    ...{ owner: 'alice', repository: 'acme/payments-api', tokenReadsCodespaces: true, ...more },
  });
const over = async (who: Enrolled) =>
  await vi.waitFor(
    async () =>
      expect((await asSession(harness, who, { method: 'POST', path: '/session/heartbeat' })).json).toMatchObject({
        error_code: 'session_closed',
      }),
    PATIENCE,
  );
const grantsOf = async (who: Enrolled) =>
  (await asSession(harness, who, { path: '/services' })).json.services?.map((one: { grant: string }) => one.grant);
const tell = async (event: object) =>
  expect(
    await harness.call({
      ...{ method: 'POST', path: '/services/collector', body: JSON.stringify({ event }) },
      headers: { 'content-type': 'application/json', authorization: `Splunk ${EVENT_TOKEN}` },
    }),
  ).toMatchObject({ status: 200 });
const LEFT = { action: 'team.remove_member', org: 'acme', team: 'acme/payments', user: 'alice' };
const isMembership = (url: URL) => url.pathname.endsWith('/teams/payments/memberships/alice');
/** As a server of GitHub's answers that does not know yet. */
const stillMember = async (url: URL, answer: Response) =>
  isMembership(url) ? Response.json({ state: 'active', role: 'member', url: '' }) : answer;
/** Holds the answer to the next such question until it is let go. */
const holdNext = (isIt: (url: URL) => boolean) => {
  const [reached, go] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  let held = false;
  onTheWay = async (url, answer) => {
    if (held || !isIt(url)) return answer;
    held = true;
    reached.resolve();
    await go.promise;
    return answer;
  };
  return { reached: reached.promise, go: go.resolve };
};

beforeAll(async () => {
  github = await startGithub({ listen: '127.0.0.1:0' });
  writeFileSync(eventTokenFile, EVENT_TOKEN, { mode: 0o600 });
});
afterAll(async () => {
  await github?.close();
  rmSync(dir, { recursive: true });
});
const fresh = async () => {
  harness.clockStandsAt = undefined;
  onTheWay = async (_, answer) => answer;
  await github.admin.reset();
  trusting(TEAM, 'somebody-else');
  trusting();
  // What GitHub said before its reset is remembered by no process.
  await harness.restart();
  settle();
};
/** Until the broker has looked once at the Codespaces and once at the members. */
const looked = async () =>
  await vi.waitFor(async () => {
    const { text } = await harness.operatorCall('/metrics');
    for (const what of ['sweep', 'member'])
      expect(text).toMatch(new RegExp(`^meshpass_github_${what}_age_seconds \\d`, 'm'));
  }, PATIENCE);
/** Memory of the answer "no" passes in real time. */
const getsIn = async (space: StartedCodespace) =>
  await vi.waitFor(async () => expect(await present(harness, space)).toMatchObject({ status: 200 }), {
    timeout: 60_000,
    interval: 500,
  });

describe('by an event', () => {
  beforeAll(async () => {
    const config = { githubSweepSeconds: 3600, githubMemberSeconds: 3600, githubEventTokenFile: eventTokenFile };
    harness = await startGithubHarness({ github, config, onTheWay: (url, answer) => onTheWay(url, answer) });
  });
  beforeEach(fresh);
  afterAll(() => harness?.stop());

  it('who left a team does not come back, whoever remembers the membership', async () => {
    const space = await codespace();
    const who = await opened(harness, space);
    settle();
    await github.admin.removeFromTeam('acme/payments', 'alice');
    await tell(LEFT);
    await over(who);
    expect(await present(harness, space)).toMatchObject({ status: 403, json: { error_code: 'access_none' } });
  });

  it('nor while a server of GitHub’s does not know yet; who is taken in again does a moment later', async () => {
    const space = await codespace();
    const who = await opened(harness, space);
    settle();
    await github.admin.removeFromTeam('acme/payments', 'alice');
    await tell(LEFT);
    await over(who);
    onTheWay = stillMember;
    expect(await present(harness, space)).toMatchObject({ status: 403, json: { error_code: 'access_none' } });
    onTheWay = async (_, answer) => answer;
    await github.admin.addToTeam('acme/payments', 'alice');
    settle();
    await getsIn(space);
  });

  it('an answer that was under way when the event came is asked for again', async () => {
    const space = await codespace();
    const held = holdNext(isMembership);
    const answer = present(harness, space);
    await held.reached;
    await github.admin.removeFromTeam('acme/payments', 'alice');
    await tell(LEFT);
    held.go();
    expect(await answer).not.toMatchObject({ status: 200 });
    expect(await present(harness, space)).toMatchObject({ status: 403 });
  });

  it('a session that opens after the event is asked about as well, while GitHub lags behind its own log', async () => {
    const space = await codespace();
    await tell(LEFT);
    onTheWay = stillMember;
    const who = await opened(harness, space);
    await github.admin.removeFromTeam('acme/payments', 'alice');
    onTheWay = async (_, answer) => answer;
    settle();
    await over(who);
  });

  it('who left the organization does not come back in a Codespace that it still pays for', async () => {
    trusting([grantBy('person', { user: 'alice' })]);
    const mine = await codespace({ billableOwner: 'alice' });
    const paid = await codespace();
    const who = await opened(harness, mine);
    settle();
    await github.admin.removeFromOrganization('acme', 'alice');
    await tell({ action: 'org.remove_member', org: 'acme', user: 'alice' });
    await over(who);
    settle();
    const refused = { status: 400, json: { error_code: 'workspace_not_trusted' } };
    expect(await present(harness, paid)).toMatchObject(refused);
    await harness.restart();
    expect(await present(harness, paid)).toMatchObject(refused);
    await github.admin.setOrganizationRole('acme', 'alice', 'member');
    settle();
    await getsIn(paid);
  });

  it('the broker that takes over believes no server of GitHub’s that does not know yet', async () => {
    const space = await codespace();
    const who = await opened(harness, space);
    settle();
    await github.admin.removeFromTeam('acme/payments', 'alice');
    await tell(LEFT);
    // How long the restart takes is not the question.
    harness.clockStandsAt = Date.now();
    await over(who);
    await harness.restart();
    onTheWay = stillMember;
    expect(await present(harness, space)).toMatchObject({ status: 403, json: { error_code: 'access_none' } });
  });

  it('nor what a session was opened with: a team that it lost stays lost', async () => {
    const either = grantBy('either', { team: 'acme/payments' });
    const grant = { ...either, who: [...either.who, { ...either.who[0]!, team: 'acme/sre' }] };
    trusting([grant]);
    await github.admin.addToTeam('acme/sre', 'alice');
    const who = await opened(harness, await codespace());
    settle();
    const before = harness.lost.length;
    await github.admin.removeFromTeam('acme/payments', 'alice');
    await tell(LEFT);
    await vi.waitFor(() => expect(harness.lost.slice(before).join()).toMatch(/^team acme\/payments \d+$/), PATIENCE);
    expect(await grantsOf(who)).toEqual(['either']);
    // No look finds it out again.
    onTheWay = stillMember;
    await harness.restart();
    trusting([either]);
    await over(who);
  });
});

describe('by a request', () => {
  beforeAll(async () => {
    const config = { githubSweepSeconds: 3600, githubMemberSeconds: 3600 };
    harness = await startGithubHarness({ github, config, onTheWay: (url, answer) => onTheWay(url, answer) });
  });
  beforeEach(async () => {
    await fresh();
    // The first look is over before there is anything to see.
    await opened(harness, await codespace());
    await looked();
    trusting(TEAM, 'somebody-else');
    trusting();
  });
  afterAll(() => harness?.stop());

  it('a membership that GitHub denies to one workspace of a developer is lost in the others', async () => {
    trusting([...TEAM, grantBy('person', { user: 'alice' })]);
    const who = await opened(harness, await codespace());
    trusting();
    settle();
    // Another process has not asked about the team yet; its first look finds nothing wrong.
    await github.admin.forgetCalls();
    await harness.restart();
    await vi.waitFor(
      async () => expect(await github.admin.calls()).toContain('GET /orgs/acme/teams/payments/members'),
      PATIENCE,
    );
    trusting([...TEAM, grantBy('person', { user: 'alice' })]);
    await github.admin.removeFromTeam('acme/payments', 'alice');
    await opened(harness, await codespace());
    // By the wider file it has gained what needs no team; what needed the team is gone.
    await vi.waitFor(async () => expect(await grantsOf(who)).toEqual(['person']), PATIENCE);
  });

  it('a Codespace that GitHub says has stopped ends, whoever asked', async () => {
    const space = await codespace();
    const who = await opened(harness, space);
    settle();
    await github.admin.setCodespaceState(space.name, 'Shutdown');
    expect(await present(harness, space)).toMatchObject({ json: { error_code: 'workspace_not_available' } });
    await over(who);
  });
});

describe('by a sweep', () => {
  beforeAll(async () => {
    const config = { githubSweepSeconds: 1, githubMemberSeconds: 1 };
    harness = await startGithubHarness({ github, config, onTheWay: (url, answer) => onTheWay(url, answer) });
  });
  beforeEach(fresh);
  afterAll(() => harness?.stop());

  it('who left a team does not come back', async () => {
    const space = await codespace();
    const who = await opened(harness, space);
    settle();
    await github.admin.removeFromTeam('acme/payments', 'alice');
    await over(who);
    expect(await present(harness, space)).toMatchObject({ status: 403, json: { error_code: 'access_none' } });
  });

  it('a Codespace that stopped does not come back by an answer from before', async () => {
    const space = await codespace();
    const who = await opened(harness, space);
    settle();
    const held = holdNext((url) => url.pathname === `/user/codespaces/${space.name}`);
    const answer = present(harness, space);
    await held.reached;
    await github.admin.setCodespaceState(space.name, 'Shutdown');
    await over(who);
    held.go();
    expect(await answer).toMatchObject({ status: 503, json: { error_code: 'issuer_unavailable' } });
  });
});
