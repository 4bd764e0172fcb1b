/** GitHub's audit log stream: a hint that makes the broker ask, never more. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { asSession, type Enrolled } from '../harness/broker.ts';
import { grantBy } from '../harness/github.ts';
import { createWatch, GRANTS } from '../harness/github-watch.ts';

const EVENT_TOKEN = 'event-token-of-the-tests-0123456789abcdef';
const dir = mkdtempSync(join(tmpdir(), 'meshpass-tokens-'));
const eventTokenFile = join(dir, 'events');
const watch = createWatch();
const { opened, enrolled, settle, ended, lives, detailOf, trusting } = watch;

beforeAll(watch.begin);
afterAll(watch.end);
afterAll(() => rmSync(dir, { recursive: true }));

describe('the audit log stream', () => {
  const json = { 'content-type': 'application/json' };
  const post = (body: string, more: Record<string, string> = {}, path = '/services/collector') =>
    watch.harness.call({
      method: 'POST',
      path,
      body,
      headers: { ...json, authorization: `Splunk ${EVENT_TOKEN}`, ...more },
    });

  beforeAll(async () => {
    watch.onTheWay = async (_, answer) => answer;
    await watch.github.admin.reset();
    writeFileSync(eventTokenFile, EVENT_TOKEN, { mode: 0o600 });
    watch.harness = await watch.start({
      githubSweepSeconds: 3600,
      githubMemberSeconds: 3600,
      githubEventTokenFile: eventTokenFile,
    });
    trusting();
    // The first sweep ends before there is anything to see.
    await opened();
    await vi.waitFor(
      async () =>
        expect((await watch.harness.operatorCall('/metrics')).text).toMatch(/^meshpass_github_sweep_age_seconds \d/m),
      { timeout: 60_000 },
    );
  });
  beforeEach(async () => {
    watch.onTheWay = async (_, answer) => answer;
    await watch.github.admin.reset();
    // An event asks about every live session of its developer: none is left of the test before.
    trusting(GRANTS, 'somebody-else');
    trusting();
    // The previous test's losses are accepted again after this.
    settle();
  });
  afterAll(() => watch.harness?.stop());

  it.each(['codespaces.suspend_environment', 'codespaces.destroy'])(
    'ends a session by %s once GitHub agrees',
    async (action) => {
      const { space, who } = await opened();
      settle();
      await watch.github.admin.setCodespaceState(space.name, action === 'codespaces.destroy' ? 'Deleted' : 'Shutdown');
      const answer = await post(
        JSON.stringify({ event: { action, name: space.name, owner: 'alice', _document_id: 'x1' } }),
      );
      expect(answer).toMatchObject({ status: 200, json: { text: 'Success', code: 0 } });
      await ended(who, action === 'codespaces.destroy' ? 'was deleted' : 'is not running');
      expect((await detailOf(who)).row).toMatchObject({ event: action, eventId: 'x1' });
    },
  );

  it('is not believed against GitHub itself: an old event, or a false one', async () => {
    const { space, who } = await opened();
    settle();
    await watch.github.admin.forgetCalls();
    const { status } = await post(
      JSON.stringify({ event: { action: 'codespaces.destroy', name: space.name } }),
      {},
      '/github/audit-stream',
    );
    expect(status).toBe(200);
    await vi.waitFor(
      async () => expect(await watch.github.admin.calls()).toContain('GET /orgs/acme/members/alice/codespaces'),
      { timeout: 60_000 },
    );
    await lives(who);
  });

  /** Events as GitHub streams them: without ids except GitHub's own id of the event. */
  const tell = async (event: object) => expect(await post(JSON.stringify({ event }))).toMatchObject({ status: 200 });
  const left = { action: 'team.remove_member', org: 'acme', team: 'acme/payments', user: 'alice' };
  const grantsOf = async (who: Enrolled) =>
    (await asSession(watch.harness, who, { path: '/services' })).json.services.map(
      (one: { grant: string }) => one.grant,
    );

  it.each([left, { action: 'team.destroy', org: 'acme', team: 'Acme/Payments' }])(
    'revokes the access of a team once GitHub agrees: $action',
    async (event) => {
      const { who } = await opened();
      settle();
      await watch.github.admin.removeFromTeam('acme/payments', 'alice');
      await tell(event);
      await vi.waitFor(async () => expect(await grantsOf(who)).toEqual(['person']), { timeout: 60_000 });
    },
  );

  it.each(['org.remove_member', 'org.block_user'])('ends a session by %s once GitHub agrees', async (action) => {
    const space = await watch.github.admin.createCodespace({
      owner: 'alice',
      repository: 'acme/payments-api',
      billableOwner: 'alice',
    });
    const who = await enrolled(space);
    settle();
    await watch.github.admin.removeFromOrganization('acme', 'alice');
    await tell({ action, org: 'acme', [action === 'org.block_user' ? 'blocked_user' : 'user']: 'Alice' });
    await ended(who, 'no longer in the team');
  });

  it('revokes the access of a role once GitHub agrees', async () => {
    trusting([grantBy('admins', { role: 'acme/admin' }), grantBy('members', { role: 'acme/member' })]);
    const { who } = await opened('bob', 'acme/orders');
    settle();
    await watch.github.admin.setOrganizationRole('acme', 'bob', 'member');
    await tell({ action: 'org.update_member', org: 'acme', user: 'bob' });
    await vi.waitFor(async () => expect(await grantsOf(who)).toEqual(['members']), { timeout: 60_000 });
  });

  it.each([
    ['while GitHub has them in it', async () => {}],
    ["while their login is another's", async () => void (await watch.github.admin.renameUser('alice', 'alice-smith'))],
    ['while the App may not read members', () => watch.github.admin.suspendInstallation('acme', true)],
    [
      'while the organization shows no members',
      async () => {
        watch.onTheWay = async (url, answer) =>
          /\/orgs\/acme\/(members|memberships|teams)/.test(url.pathname) ? new Response('{}', { status: 404 }) : answer;
      },
    ],
  ])('ends no membership by an event alone: %s', async (_, change) => {
    const { who } = await opened();
    settle();
    await change();
    await watch.github.admin.forgetCalls();
    await tell(left);
    await tell({ ...left, action: 'org.remove_member' });
    await vi.waitFor(async () => expect((await watch.github.admin.calls()).length).toBeGreaterThan(0), {
      timeout: 60_000,
    });
    await new Promise((resolve) => setTimeout(resolve, 500));
    await lives(who);
    expect(await grantsOf(who)).toEqual(['team', 'person']);
  });

  it("asks again while GitHub's servers lag behind its log", async () => {
    const { who } = await opened();
    settle();
    await watch.github.admin.forgetCalls();
    await tell(left);
    // GitHub has answered once that they are in the team.
    await vi.waitFor(async () => expect(await watch.github.admin.calls()).not.toEqual([]), { timeout: 60_000 });
    await watch.github.admin.removeFromTeam('acme/payments', 'alice');
    await vi.waitFor(async () => expect(await grantsOf(who)).toEqual(['person']), { timeout: 60_000 });
  });

  it('is accepted compressed, within its bounds', async () => {
    const { space, who } = await opened();
    settle();
    await watch.github.admin.setCodespaceState(space.name, 'Shutdown');
    const event = gzipSync(JSON.stringify({ action: 'codespaces.suspend_environment', name: space.name }));
    const raw = (body: Buffer) => post(body as unknown as string, { 'content-encoding': 'gzip' });
    expect(await raw(event)).toMatchObject({ status: 200 });
    await ended(who, 'is not running');
    expect(await raw(gzipSync(Buffer.alloc(40 * 1024 * 1024)))).toMatchObject({ status: 413 });
    expect(await raw(Buffer.from('not gzip'))).toMatchObject({ status: 400 });
    expect(await post('{}', { 'content-encoding': 'br' })).toMatchObject({ status: 400 });
    expect(await post('hello')).toMatchObject({ status: 400, json: { error_code: 'request_malformed' } });
  });

  it('is accepted only from clients with its token', async () => {
    for (const authorization of ['', 'Splunk', `Splunk ${EVENT_TOKEN}x`, `Basic ${EVENT_TOKEN}`, 'Splunk undefined'])
      expect(await post('{}', { authorization })).toMatchObject({
        status: 401,
        json: { error: 'invalid_token', error_code: 'github_unauthorized' },
      });
    expect(await post('{}', { authorization: `Bearer ${EVENT_TOKEN}` })).toMatchObject({ status: 200 });
    expect(await watch.harness.call({ path: '/services/collector/health' })).toMatchObject({ status: 200 });
  });

  it('asks nothing about people without a live session, or elsewhere', async () => {
    // Earlier events about alice do not affect a session that opens now.
    watch.harness.clockAhead += 61_000;
    await opened();
    settle();
    await watch.github.admin.forgetCalls();
    await tell({ ...left, user: 'carol' });
    await tell({ ...left, org: 'other', team: 'other/payments' });
    await tell({ action: 'team.remove_member', org: 'acme' });
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(await watch.github.admin.calls()).toEqual([]);
  });

  it('only counts events that concern no live session', async () => {
    await watch.github.admin.forgetCalls();
    expect(await post(JSON.stringify({ event: { action: 'codespaces.destroy', name: 'nobody-s' } }))).toMatchObject({
      status: 200,
    });
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(await watch.github.admin.calls()).toEqual([]);
    expect((await watch.harness.operatorCall('/metrics')).text).toMatch(/meshpass_github_events_total [1-9]/);
  });
});
