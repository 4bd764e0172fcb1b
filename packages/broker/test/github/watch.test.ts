/** Sessions that the sweep of GitHub ends, and sessions that it does not end: a whole broker and the fake of GitHub. */
import type { Fault } from '@meshpass/lab/github/fault';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { asSession, type Enrolled } from '../harness/broker.ts';
import { grantBy } from '../harness/github.ts';
import { createWatch, GRANTS, isListing } from '../harness/github-watch.ts';

const watch = createWatch();
const { opened, renewed, settle, ended, lives, asked, detailOf, trusting } = watch;

/** Waits until a session has exactly these grants. */
const keeps = async (who: Enrolled, grants: readonly string[]) =>
  await vi.waitFor(
    async () => {
      const { json } = await asSession(watch.harness, who, { path: '/services' });
      expect(json.services.map((one: { grant: string }) => one.grant)).toEqual(grants);
    },
    { timeout: 60_000, interval: 100 },
  );

beforeAll(watch.begin);
afterAll(watch.end);

describe('the sweep', () => {
  beforeAll(async () => {
    watch.harness = await watch.start({ githubSweepSeconds: 1, githubMemberSeconds: 1 });
  });
  beforeEach(async () => {
    watch.onTheWay = async (_, answer) => answer;
    await watch.github.admin.reset();
    trusting();
    // The previous test's losses are accepted again after this.
    settle();
  });
  afterAll(() => watch.harness?.stop());

  it.each([
    ['Shutdown', 'is not running', 'workspace_stopped'],
    ['Rebuilding', 'is not running', 'workspace_stopped'],
    ['Deleted', 'was deleted', 'workspace_deleted'],
  ] as const)('ends the session of a Codespace that is %s, and no other', async (state, because, cause) => {
    const { space, who } = await opened();
    const other = await opened('bob', 'acme/orders').catch(() => undefined);
    expect(other).toBeUndefined();
    const second = await opened();
    settle();
    await asked(1);
    await lives(who);
    await watch.github.admin.setCodespaceState(space.name, state);
    await ended(who, because);
    await lives(second.who);
    expect(await detailOf(who)).toMatchObject({ row: { cause }, stored: cause });
  });

  it('ignores a brief state, and ends the session at one that stays', async () => {
    const { space, who } = await opened();
    settle();
    let doubts = 1;
    watch.onTheWay = async (url, answer) => {
      if (!isListing(url) || answer.status !== 200) return answer;
      const text = await answer.text();
      const state = doubts-- > 0 ? 'Updating' : 'Available';
      return new Response(text.replace('"state":"Available"', `"state":"${state}"`), { headers: { 'x-doubt': state } });
    };
    await asked(3);
    await lives(who);
    watch.onTheWay = async (_, answer) => answer;
    await watch.github.admin.setCodespaceState(space.name, 'Updating');
    await ended(who, 'is not running');
  });

  it("ends a session whose Codespace's name is another's now", async () => {
    const { space, who } = await opened();
    settle();
    await watch.github.admin.setCodespaceState(space.name, 'Deleted');
    await watch.github.admin.createCodespace({ owner: 'alice', repository: 'acme/payments-api', name: space.name });
    await ended(who, 'was deleted');
  });

  it('ignores reports from before the session had settled', async () => {
    const { space, who } = await opened();
    await watch.github.admin.setCodespaceState(space.name, 'Shutdown');
    await asked(2);
    await lives(who);
    settle();
    await ended(who, 'is not running');
  });

  it("asks again about one that is missing in the list, and believes its developer's own", async () => {
    const { who } = await opened();
    settle();
    await asked(1);
    const missing = Response.json({ total_count: 0, codespaces: [] });
    watch.onTheWay = async (url, answer) => (isListing(url) ? missing.clone() : answer);
    await vi.waitFor(
      async () => expect(await watch.github.admin.calls()).toContain('GET /orgs/acme/members/alice/codespaces'),
      { timeout: 60_000 },
    );
    watch.onTheWay = async (_, answer) => answer;
    await asked(1);
    await lives(who);
  });

  it('ignores a list that lost most of its entries at once', async () => {
    const spaces = [];
    for (let n = 0; n < 12; n++) spaces.push(await opened());
    settle();
    await asked(2);
    const missing = Response.json({ total_count: 0, codespaces: [] });
    watch.onTheWay = async (url, answer) =>
      url.pathname.endsWith('/codespaces') && url.pathname.startsWith('/orgs') ? missing.clone() : answer;
    await asked(4);
    for (const { who } of spaces) await lives(who);
  });

  const FAULTS: readonly Fault[] = [
    { mode: 'down' },
    { mode: 'stalled' },
    { mode: 'error', status: 502 },
    { mode: 'html' },
    { mode: 'garbage' },
    { mode: 'endless' },
    { mode: 'redirect', location: 'https://elsewhere.example/' },
  ];
  it.each(FAULTS)(
    'ends nothing while GitHub fails ($mode), and keeps nothing that leases end',
    async (fault) => {
      const { space, who } = await opened();
      const silent = await opened();
      settle();
      await asked(1);
      await watch.github.admin.setFault(fault);
      await watch.github.admin.setCodespaceState(space.name, 'Shutdown');
      await watch.github.admin.forgetCalls();
      await vi.waitFor(async () => expect((await watch.github.admin.calls()).length).toBeGreaterThan(1), {
        timeout: 60_000,
      });
      await lives(who);
      watch.harness.clockAhead += 30_000;
      await lives(who);
      watch.harness.clockAhead += 20_000;
      await ended(silent.who, 'stopped sending heartbeats');
      await lives(who);
      await watch.github.admin.setFault({ mode: 'none' });
      await ended(who, 'is not running');
    },
    60_000,
  );

  it('concludes nothing from a list of which a page cannot be read', async () => {
    for (let n = 0; n < 100; n++) await watch.github.admin.createCodespace({ owner: 'bob', repository: 'acme/orders' });
    const last = await opened();
    const { space, who } = await opened();
    settle();
    watch.onTheWay = async (url, answer) => {
      if (isListing(url) && url.searchParams.get('page') === '1') throw new Error('connection lost');
      return answer;
    };
    await watch.github.admin.setCodespaceState(space.name, 'Shutdown');
    await asked(2);
    await lives(who);
    watch.onTheWay = async (_, answer) => answer;
    await ended(who, 'is not running');
    await lives(last.who);
  });

  it('revokes the access of a team when its developer leaves it, and the rest when they leave the organization', async () => {
    const { who } = await opened();
    expect(who.session.grants).toEqual(['team', 'person']);
    settle();
    await asked(1, '/orgs/acme/teams/payments/members');
    await watch.github.admin.removeFromTeam('acme/payments', 'alice');
    await keeps(who, ['person']);
    await watch.github.admin.removeFromOrganization('acme', 'alice');
    await ended(who, 'no longer in the team');
    expect(await detailOf(who)).toMatchObject({ row: { cause: 'membership_lost', left: 'acme' } });
  });

  it('ends the session of a former member although the list of a team cannot be read', async () => {
    const { who } = await opened();
    settle();
    await asked(1, '/orgs/acme/members');
    watch.onTheWay = async (url, answer) => {
      if (url.pathname === '/orgs/acme/teams/payments/members') throw new Error('connection lost');
      return answer;
    };
    await watch.github.admin.removeFromOrganization('acme', 'alice');
    await ended(who, 'no longer in the team');
  });

  it('revokes the access of a team, and no more, while the list of members still has the person', async () => {
    const { who } = await opened();
    settle();
    await asked(1, '/orgs/acme/members');
    watch.onTheWay = async (url, answer) =>
      url.pathname === '/orgs/acme/memberships/alice'
        ? Response.json({ message: 'Not Found' }, { status: 404 })
        : answer;
    await watch.github.admin.removeFromTeam('acme/payments', 'alice');
    await keeps(who, ['person']);
    await lives(who);
  });

  it('revokes the access of a role when its holder loses it, and the rest when they leave the organization', async () => {
    trusting([grantBy('admins', { role: 'acme/admin' }), grantBy('members', { role: 'acme/member' })]);
    const { who } = await opened('bob', 'acme/orders');
    expect(who.session.grants).toEqual(['admins', 'members']);
    settle();
    await asked(1, '/orgs/acme/memberships/bob');
    await lives(who);
    expect((await asSession(watch.harness, who, { path: '/services' })).json.services).toHaveLength(2);
    await watch.github.admin.setOrganizationRole('acme', 'bob', 'member');
    await keeps(who, ['members']);
    await watch.github.admin.removeFromOrganization('acme', 'bob');
    await ended(who, 'no longer in the team');
  });

  it('ends a session that stood on the team alone, and not for a member under a new login', async () => {
    trusting([GRANTS[0]!]);
    const { who } = await opened();
    settle();
    await watch.github.admin.renameUser('alice', 'alice-smith');
    await asked(2, '/orgs/acme/teams/payments/members');
    await lives(who);
    await watch.github.admin.removeFromTeam('acme/payments', 'alice-smith');
    await ended(who, 'no longer in the team');
  });

  it("ends nobody's membership while the App may not read it", async () => {
    const { who } = await opened();
    settle();
    await asked(1, '/orgs/acme/teams/payments/members');
    await watch.github.admin.suspendInstallation('acme', true);
    await watch.github.admin.removeFromTeam('acme/payments', 'alice');
    await watch.github.admin.forgetCalls();
    await vi.waitFor(async () => expect((await watch.github.admin.calls()).length).toBeGreaterThan(2), {
      timeout: 60_000,
    });
    await lives(who);
    expect((await asSession(watch.harness, who, { path: '/services' })).json.services).toHaveLength(2);
  });

  it('sends nothing for as long as GitHub asks, and reports its state in metrics', async () => {
    await opened();
    await asked(1);
    const { text } = await watch.harness.operatorCall('/metrics');
    expect(text).toMatch(/meshpass_github_sweep_age_seconds [\d.]+/);
    expect(text).toMatch(/meshpass_github_calls_left \d+/);
    expect(text).toMatch(/meshpass_sessions_closed_total{cause="\w+"} [1-9]/);
    await watch.github.admin.setFault({ mode: 'secondary-limited', retryAfterSeconds: 60 });
    await vi.waitFor(() => expect(watch.harness.log.join('')).toContain('issuer_rate_limited'), { timeout: 60_000 });
    await watch.github.admin.forgetCalls();
    await new Promise((resolve) => setTimeout(resolve, 2_000));
    expect(await watch.github.admin.calls()).toEqual([]);
    watch.harness.clockAhead += 65_000;
    await watch.github.admin.setFault({ mode: 'none' });
  });

  it('ends sessions that an access file no longer trusts, or grants for less time', async () => {
    const { who } = await opened();
    trusting([grantBy('team', { team: 'acme/payments' }), { ...GRANTS[1]!, session: 600 }]);
    expect(await renewed(who)).toMatchObject({ expires_at: who.session.expires_at });
    trusting(GRANTS.map((one) => ({ ...one, session: 600 })));
    expect(await renewed(who)).toMatchObject({ expires_at: who.session.expires_at - 3000 });
    trusting(GRANTS, 'somebody-else');
    await ended(who, 'no longer trusts');
    trusting();
    const again = await opened();
    watch.harness.mesh.setAccess(GRANTS);
    await ended(again.who, 'no longer trusts');
  });
});
