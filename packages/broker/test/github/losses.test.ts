/** A loss that the broker has recorded overrides caches, answers under way and restarts. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { StartedCodespace } from '@meshpass/lab/github/admin-client';
import { type RunningGithub, startGithub } from '@meshpass/lab/github/start';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { SETTLE_SECONDS } from '../../src/attest/github/losses.ts';
import { asSession, type Enrolled, renewLease } from '../harness/broker.ts';
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
    owner: 'alice',
    repository: 'acme/payments-api',
    tokenReadsCodespaces: true,
    ...more,
  });
const over = async (who: Enrolled) =>
  await vi.waitFor(async () => expect((await renewLease(harness, who)).kind).toBe('ended'), PATIENCE);
const grantsOf = async (who: Enrolled) =>
  (await asSession(harness, who, { path: '/services' })).json.services?.map((one: { grant: string }) => one.grant);
const tell = async (event: object) =>
  expect(
    await harness.call({
      method: 'POST',
      path: '/services/collector',
      body: JSON.stringify({ event }),
      headers: { 'content-type': 'application/json', authorization: `Splunk ${EVENT_TOKEN}` },
    }),
  ).toMatchObject({ status: 200 });
const LEFT = { action: 'team.remove_member', org: 'acme', team: 'acme/payments', user: 'alice' };
const isMembership = (url: URL) => url.pathname.endsWith('/teams/payments/memberships/alice');
/** Answers like a GitHub server that does not know yet. */
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
  // No process caches GitHub's answers from before its reset.
  await harness.restart();
  settle();
};
/** Waits until the broker has swept Codespaces and members once. */
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

  it('a former team member does not return through a cached membership', async () => {
    const space = await codespace();
    const who = await opened(harness, space);
    settle();
    await github.admin.removeFromTeam('acme/payments', 'alice');
    await tell(LEFT);
    await over(who);
    expect(await present(harness, space)).toMatchObject({ status: 403, json: { error_code: 'access_none' } });
  });

  it("nor while a server of GitHub's has old data; a person who is added again gets in a moment later", async () => {
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

  it('an answer that was under way at the event is requested again', async () => {
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

  it('a person who left the organization gets no session in a Codespace that it still pays for', async () => {
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

  it("the broker that takes over trusts no server of GitHub's with old data", async () => {
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

  it('nor the attestation of a session: a team that it lost stays lost', async () => {
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
    // No later poll detects it again.
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
    // The first sweep ends before there is anything to see.
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
    // Another process has not asked about the team yet; its first poll detects no change.
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

  it('a session ends if GitHub reports its Codespace as stopped, to any caller', async () => {
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

  it('a person who left a team gets no access again', async () => {
    const space = await codespace();
    const who = await opened(harness, space);
    settle();
    await github.admin.removeFromTeam('acme/payments', 'alice');
    await over(who);
    expect(await present(harness, space)).toMatchObject({ status: 403, json: { error_code: 'access_none' } });
  });

  it('a stopped Codespace gets no session by an earlier answer', async () => {
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
