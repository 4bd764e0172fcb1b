/** What GitHub says ends sessions, and what it does not say ends none: a whole broker and the stand-in for GitHub. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import type { Grant } from '@meshpass/access';
import type { StartedCodespace } from '@meshpass/lab/github/admin-client';
import type { Fault } from '@meshpass/lab/github/fault';
import { type RunningGithub, startGithub } from '@meshpass/lab/github/start';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { createGithubApp } from '../../src/attest/github/app.ts';
import { createLosses, SETTLE_SECONDS } from '../../src/attest/github/losses.ts';
import { plainHttpIssuersOnlyInALab } from '../../src/attest/issuer-http.ts';
import { readWithTokenFile } from '../../src/github/reader.ts';
import { readStore } from '../harness/audit.ts';
import { asSession, type Enrolled, type Harness } from '../harness/broker.ts';
import { grantBy, opened as openedBy, startGithubHarness } from '../harness/github.ts';

const EVENT_TOKEN = 'event-token-of-the-tests-0123456789abcdef';

let github: RunningGithub;
let harness: Harness;
const tokens = mkdtempSync(join(tmpdir(), 'meshpass-tokens-'));
const tokenFile = join(tokens, 'github');
const eventTokenFile = join(tokens, 'events');
/** Changes what GitHub answers on its way; may throw. */
let onTheWay: (url: URL, answer: Response) => Promise<Response> = async (_, answer) => answer;
const listings = (url: URL) => url.pathname === '/orgs/acme/codespaces';

const by = grantBy;
const GRANTS = [by('team', { team: 'acme/payments' }), by('person', { user: 'alice' })];
const trusting = (grants: readonly Grant[] = GRANTS, organization = 'acme') =>
  harness.mesh.setAccess(grants, [], { codespaces: { organization } });

const start = (config: object, watched: 'app' | 'token file' = 'app') =>
  startGithubHarness({
    ...{ github, config, onTheWay: (url, answer) => onTheWay(url, answer) },
    ...(watched === 'token file' && { read: (asking) => readWithTokenFile(tokenFile, asking) }),
  });

const enrolled = (space: StartedCodespace) => openedBy(harness, space);
const opened = async (owner = 'alice', repository = 'acme/payments-api') => {
  const space = await github.admin.createCodespace({ owner, repository, tokenReadsCodespaces: true });
  return { space, who: await enrolled(space) };
};
const heartbeat = (who: Enrolled) => asSession(harness, who, { method: 'POST', path: '/session/heartbeat' });
const settle = () => {
  harness.clockAhead += SETTLE_SECONDS * 1000 + 500;
};
const ended = async (who: Enrolled, because: string) =>
  await vi.waitFor(
    async () => {
      const { json } = await heartbeat(who);
      expect(json).toMatchObject({ error_code: 'session_closed', error_description: expect.stringContaining(because) });
    },
    { timeout: 10_000, interval: 100 },
  );
const lives = async (who: Enrolled) => expect(await heartbeat(who)).toMatchObject({ status: 200 });
/** Until GitHub has been asked for so many whole lists, from now on. */
const asked = async (times: number, path = '/orgs/acme/codespaces') => {
  await github.admin.forgetCalls();
  await vi.waitFor(
    async () => {
      const calls = await github.admin.calls();
      expect(calls.filter((call) => call === `GET ${path}`).length).toBeGreaterThan(times);
    },
    { timeout: 15_000, interval: 100 },
  );
};
const detailOf = async (who: Enrolled) => {
  await harness.broker.close();
  const { audit, sessions } = await readStore({ dataDir: join(harness.dir, 'data') });
  const row = audit.find(({ action, session_id }) => action === 'session.close' && session_id === who.session.id);
  const stored = sessions.find(({ id }) => id === who.session.id);
  await harness.restart();
  return { row: JSON.parse(row?.detail ?? '{}'), stored: stored?.close_cause };
};

beforeAll(async () => {
  github = await startGithub({ listen: '127.0.0.1:0' });
});
afterAll(async () => {
  await github?.close();
  rmSync(tokens, { recursive: true });
});

describe('the sweep', () => {
  beforeAll(async () => {
    harness = await start({ githubSweepSeconds: 1, githubMemberSeconds: 1 });
  }, 60_000);
  beforeEach(async () => {
    onTheWay = async (_, answer) => answer;
    await github.admin.reset();
    trusting();
    // What the test before has lost is believed again after this.
    settle();
  });
  afterAll(() => harness?.stop());

  it.each([
    ['Shutdown', 'is not running', 'workspace_stopped'],
    ['Rebuilding', 'is not running', 'workspace_stopped'],
    ['Deleted', 'is deleted', 'workspace_deleted'],
  ] as const)('ends the session of a Codespace that is %s, and no other', async (state, because, cause) => {
    const { space, who } = await opened();
    const other = await opened('bob', 'acme/orders').catch(() => undefined);
    expect(other).toBeUndefined();
    const second = await opened();
    settle();
    await asked(1);
    await lives(who);
    await github.admin.setCodespaceState(space.name, state);
    await ended(who, because);
    await lives(second.who);
    expect(await detailOf(who)).toMatchObject({ row: { cause }, stored: cause });
  });

  it('lets a state pass that comes and goes, and ends with one that stays', async () => {
    const { space, who } = await opened();
    settle();
    let doubts = 1;
    onTheWay = async (url, answer) => {
      if (!listings(url) || answer.status !== 200) return answer;
      const text = await answer.text();
      const state = doubts-- > 0 ? 'Updating' : 'Available';
      return new Response(text.replace('"state":"Available"', `"state":"${state}"`), { headers: { 'x-doubt': state } });
    };
    await asked(3);
    await lives(who);
    onTheWay = async (_, answer) => answer;
    await github.admin.setCodespaceState(space.name, 'Updating');
    await ended(who, 'is not running');
  });

  it('ends a session whose Codespace’s name is another’s now', async () => {
    const { space, who } = await opened();
    settle();
    await github.admin.setCodespaceState(space.name, 'Deleted');
    await github.admin.createCodespace({ owner: 'alice', repository: 'acme/payments-api', name: space.name });
    await ended(who, 'is deleted');
  });

  it('does not believe what was said before the session had settled', async () => {
    const { space, who } = await opened();
    await github.admin.setCodespaceState(space.name, 'Shutdown');
    await asked(2);
    await lives(who);
    settle();
    await ended(who, 'is not running');
  });

  it('asks again about one that is missing in the list, and believes its developer’s own', async () => {
    const { who } = await opened();
    settle();
    await asked(1);
    const missing = Response.json({ total_count: 0, codespaces: [] });
    onTheWay = async (url, answer) => (listings(url) ? missing.clone() : answer);
    await vi.waitFor(
      async () => expect(await github.admin.calls()).toContain('GET /orgs/acme/members/alice/codespaces'),
      { timeout: 10_000 },
    );
    onTheWay = async (_, answer) => answer;
    await asked(1);
    await lives(who);
  });

  it('believes no list that lost most of what it had at once', async () => {
    const spaces = [];
    for (let n = 0; n < 12; n++) spaces.push(await opened());
    settle();
    await asked(2);
    const missing = Response.json({ total_count: 0, codespaces: [] });
    onTheWay = async (url, answer) =>
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
      await github.admin.setFault(fault);
      await github.admin.setCodespaceState(space.name, 'Shutdown');
      await github.admin.forgetCalls();
      await vi.waitFor(async () => expect((await github.admin.calls()).length).toBeGreaterThan(1), { timeout: 15_000 });
      await lives(who);
      harness.clockAhead += 30_000;
      await lives(who);
      harness.clockAhead += 20_000;
      await ended(silent.who, 'no heartbeat');
      await lives(who);
      await github.admin.setFault({ mode: 'none' });
      await ended(who, 'is not running');
    },
    60_000,
  );

  it('concludes nothing from a list of which a page cannot be read', async () => {
    for (let n = 0; n < 100; n++) await github.admin.createCodespace({ owner: 'bob', repository: 'acme/orders' });
    const last = await opened();
    const { space, who } = await opened();
    settle();
    onTheWay = async (url, answer) => {
      if (listings(url) && url.searchParams.get('page') === '1') throw new Error('connection lost');
      return answer;
    };
    await github.admin.setCodespaceState(space.name, 'Shutdown');
    await asked(2);
    await lives(who);
    onTheWay = async (_, answer) => answer;
    await ended(who, 'is not running');
    await lives(last.who);
  }, 30_000);

  it('takes away what a team gave when its developer leaves it, and the rest when they leave the organization', async () => {
    const { who } = await opened();
    expect(who.session.grants).toEqual(['team', 'person']);
    settle();
    await asked(1, '/orgs/acme/teams/payments/members');
    await github.admin.removeFromTeam('acme/payments', 'alice');
    await vi.waitFor(
      async () => {
        const { json } = await asSession(harness, who, { path: '/services' });
        expect(json.services.map((one: { grant: string }) => one.grant)).toEqual(['person']);
      },
      { timeout: 10_000, interval: 100 },
    );
    await github.admin.removeFromOrganization('acme', 'alice');
    await ended(who, 'no longer in the team');
    expect(await detailOf(who)).toMatchObject({ row: { cause: 'membership_lost', left: 'acme' } });
  });

  it('takes away what a role gave when its holder loses it, and the rest when they leave the organization', async () => {
    trusting([by('admins', { role: 'acme/admin' }), by('members', { role: 'acme/member' })]);
    const { who } = await opened('bob', 'acme/orders');
    expect(who.session.grants).toEqual(['admins', 'members']);
    settle();
    await asked(1, '/orgs/acme/memberships/bob');
    await lives(who);
    expect((await asSession(harness, who, { path: '/services' })).json.services).toHaveLength(2);
    await github.admin.setOrganizationRole('acme', 'bob', 'member');
    await vi.waitFor(
      async () => {
        const { json } = await asSession(harness, who, { path: '/services' });
        expect(json.services.map((one: { grant: string }) => one.grant)).toEqual(['members']);
      },
      { timeout: 10_000, interval: 100 },
    );
    await github.admin.removeFromOrganization('acme', 'bob');
    await ended(who, 'no longer in the team');
  });

  it('ends a session that stood on the team alone, and not for a member under a new login', async () => {
    trusting([GRANTS[0]!]);
    const { who } = await opened();
    settle();
    await github.admin.renameUser('alice', 'alice-smith');
    await asked(2, '/orgs/acme/teams/payments/members');
    await lives(who);
    await github.admin.removeFromTeam('acme/payments', 'alice-smith');
    await ended(who, 'no longer in the team');
  });

  it('ends nobody’s membership while the App may not read it', async () => {
    const { who } = await opened();
    settle();
    await asked(1, '/orgs/acme/teams/payments/members');
    await github.admin.suspendInstallation('acme', true);
    await github.admin.removeFromTeam('acme/payments', 'alice');
    await github.admin.forgetCalls();
    await vi.waitFor(async () => expect((await github.admin.calls()).length).toBeGreaterThan(2), { timeout: 15_000 });
    await lives(who);
    expect((await asSession(harness, who, { path: '/services' })).json.services).toHaveLength(2);
  });

  it('keeps silent as long as GitHub says, and says in its metrics how things stand', async () => {
    await opened();
    await asked(1);
    const { text } = await harness.operatorCall('/metrics');
    expect(text).toMatch(/meshpass_github_sweep_age_seconds [\d.]+/);
    expect(text).toMatch(/meshpass_github_calls_left \d+/);
    expect(text).toMatch(/meshpass_sessions_closed_total{cause="\w+"} [1-9]/);
    await github.admin.setFault({ mode: 'secondary-limited', retryAfterSeconds: 5 });
    await vi.waitFor(() => expect(harness.log.join('')).toContain('issuer_rate_limited'), { timeout: 10_000 });
    await github.admin.forgetCalls();
    await new Promise((resolve) => setTimeout(resolve, 2_000));
    expect(await github.admin.calls()).toEqual([]);
    harness.clockAhead += 10_000;
    await github.admin.setFault({ mode: 'none' });
  });

  it('ends what an access file no longer trusts, or grants for less time', async () => {
    const { who } = await opened();
    trusting([by('team', { team: 'acme/payments' }), { ...GRANTS[1]!, session: 600 }]);
    const beat = await heartbeat(who);
    expect(beat.json.expires_at).toBe(who.session.expires_at);
    trusting(GRANTS.map((one) => ({ ...one, session: 600 })));
    const shorter = await heartbeat(who);
    expect(shorter.json.expires_at).toBe(who.session.expires_at - 3000);
    trusting(GRANTS, 'somebody-else');
    await ended(who, 'no longer trusts');
    trusting();
    const again = await opened();
    harness.mesh.setAccess(GRANTS);
    await ended(again.who, 'no longer trusts');
  });
});

describe('with a token in a file', () => {
  beforeAll(async () => {
    onTheWay = async (_, answer) => answer;
    await github.admin.reset();
    harness = await start({ githubSweepSeconds: 1, githubMemberSeconds: 1 }, 'token file');
    trusting();
  }, 60_000);
  afterAll(() => harness?.stop());

  it('the sweep goes on when the token is replaced, and fails loudly and harmlessly while it is none', async () => {
    const { space, who } = await opened();
    settle();
    await vi.waitFor(() => expect(harness.log.join('')).toContain('the token file cannot be read'), {
      timeout: 10_000,
    });
    writeFileSync(tokenFile, 'ghp_nonsense', { mode: 0o600 });
    await vi.waitFor(() => expect(harness.log.join('')).toContain('the token may not read this'), { timeout: 15_000 });
    await github.admin.setCodespaceState(space.name, 'Shutdown');
    await lives(who);
    let issued = '';
    const app = createGithubApp({
      ...{ url: github.url, timeoutMs: 1000, clock: Date.now, [plainHttpIssuersOnlyInALab]: true as const },
      ...{ appId: '4242', privateKey: github.appPrivateKey, losses: createLosses(Date.now) },
      fetch: async (input, init) => {
        issued = new Headers(init?.headers).get('authorization') ?? '';
        return await fetch(input, init);
      },
    });
    await app.request('acme', '/orgs/acme/members');
    writeFileSync(tokenFile, `${issued.replace('Bearer ', '')}\n`, { mode: 0o600 });
    await ended(who, 'is not running');
    expect(harness.log.join('')).not.toContain('ghp_nonsense');
    expect(harness.log.join('')).not.toContain(issued.replace('Bearer ', ''));
  }, 60_000);
});

describe('the audit log stream', () => {
  const json = { 'content-type': 'application/json' };
  const post = (body: string, more: Record<string, string> = {}, path = '/services/collector') =>
    harness.call({
      ...{ method: 'POST', path, body, headers: { ...json, authorization: `Splunk ${EVENT_TOKEN}`, ...more } },
    });

  beforeAll(async () => {
    onTheWay = async (_, answer) => answer;
    await github.admin.reset();
    writeFileSync(eventTokenFile, EVENT_TOKEN, { mode: 0o600 });
    harness = await start({
      githubSweepSeconds: 3600,
      githubMemberSeconds: 3600,
      githubEventTokenFile: eventTokenFile,
    });
    trusting();
    // The first sweep is over before there is anything to see.
    await opened();
    await new Promise((resolve) => setTimeout(resolve, 1_500));
  }, 60_000);
  beforeEach(async () => {
    onTheWay = async (_, answer) => answer;
    await github.admin.reset();
    // An event asks about every live session of its developer: none is left of the test before.
    trusting(GRANTS, 'somebody-else');
    trusting();
    // What the test before has lost is believed again after this.
    settle();
  });
  afterAll(() => harness?.stop());

  it.each(['codespaces.suspend_environment', 'codespaces.destroy'])(
    'ends a session by %s once GitHub agrees',
    async (action) => {
      const { space, who } = await opened();
      settle();
      await github.admin.setCodespaceState(space.name, action === 'codespaces.destroy' ? 'Deleted' : 'Shutdown');
      const answer = await post(
        JSON.stringify({ event: { action, name: space.name, owner: 'alice', _document_id: 'x1' } }),
      );
      expect(answer).toMatchObject({ status: 200, json: { text: 'Success', code: 0 } });
      await ended(who, action === 'codespaces.destroy' ? 'is deleted' : 'is not running');
      expect((await detailOf(who)).row).toMatchObject({ event: action, eventId: 'x1' });
    },
  );

  it('is not believed against GitHub itself: an old event, or a false one', async () => {
    const { space, who } = await opened();
    settle();
    await github.admin.forgetCalls();
    const { status } = await post(
      JSON.stringify({ event: { action: 'codespaces.destroy', name: space.name } }),
      {},
      '/github/audit-stream',
    );
    expect(status).toBe(200);
    await vi.waitFor(async () =>
      expect(await github.admin.calls()).toContain('GET /orgs/acme/members/alice/codespaces'),
    );
    await lives(who);
  });

  /** As GitHub streams them: no ids but GitHub's own of the event. */
  const tell = async (event: object) => expect(await post(JSON.stringify({ event }))).toMatchObject({ status: 200 });
  const left = { action: 'team.remove_member', org: 'acme', team: 'acme/payments', user: 'alice' };
  const grantsOf = async (who: Enrolled) =>
    (await asSession(harness, who, { path: '/services' })).json.services.map((one: { grant: string }) => one.grant);

  it.each([left, { action: 'team.destroy', org: 'acme', team: 'Acme/Payments' }])(
    'takes away what a team gave once GitHub agrees: $action',
    async (event) => {
      const { who } = await opened();
      settle();
      await github.admin.removeFromTeam('acme/payments', 'alice');
      await tell(event);
      await vi.waitFor(async () => expect(await grantsOf(who)).toEqual(['person']), { timeout: 10_000 });
    },
  );

  it.each(['org.remove_member', 'org.block_user'])('ends a session by %s once GitHub agrees', async (action) => {
    const space = await github.admin.createCodespace({
      ...{ owner: 'alice', repository: 'acme/payments-api', billableOwner: 'alice' },
    });
    const who = await enrolled(space);
    settle();
    await github.admin.removeFromOrganization('acme', 'alice');
    await tell({ action, org: 'acme', [action === 'org.block_user' ? 'blocked_user' : 'user']: 'Alice' });
    await ended(who, 'no longer in the team');
  });

  it('takes away what a role gave once GitHub agrees', async () => {
    trusting([by('admins', { role: 'acme/admin' }), by('members', { role: 'acme/member' })]);
    const { who } = await opened('bob', 'acme/orders');
    settle();
    await github.admin.setOrganizationRole('acme', 'bob', 'member');
    await tell({ action: 'org.update_member', org: 'acme', user: 'bob' });
    await vi.waitFor(async () => expect(await grantsOf(who)).toEqual(['members']), { timeout: 10_000 });
  });

  it.each([
    ['while GitHub has them in it', async () => {}],
    ['while their login is another’s', async () => void (await github.admin.renameUser('alice', 'alice-smith'))],
    ['while the App may not read members', () => github.admin.suspendInstallation('acme', true)],
    [
      'while the organization shows nobody',
      async () => {
        onTheWay = async (url, answer) =>
          /\/orgs\/acme\/(members|memberships|teams)/.test(url.pathname) ? new Response('{}', { status: 404 }) : answer;
      },
    ],
  ])('takes nobody’s membership on its word alone: %s', async (_, change) => {
    const { who } = await opened();
    settle();
    await change();
    await github.admin.forgetCalls();
    await tell(left);
    await tell({ ...left, action: 'org.remove_member' });
    await vi.waitFor(async () => expect((await github.admin.calls()).length).toBeGreaterThan(0));
    await new Promise((resolve) => setTimeout(resolve, 500));
    await lives(who);
    expect(await grantsOf(who)).toEqual(['team', 'person']);
  });

  it('asks again while GitHub’s servers lag behind its log', async () => {
    const { who } = await opened();
    settle();
    await tell(left);
    await github.admin.forgetCalls();
    await new Promise((resolve) => setTimeout(resolve, 500));
    await github.admin.removeFromTeam('acme/payments', 'alice');
    await vi.waitFor(async () => expect(await grantsOf(who)).toEqual(['person']), { timeout: 10_000 });
  });

  it('is taken compressed, and in no more than its bounds', async () => {
    const { space, who } = await opened();
    settle();
    await github.admin.setCodespaceState(space.name, 'Shutdown');
    const event = gzipSync(JSON.stringify({ action: 'codespaces.suspend_environment', name: space.name }));
    const raw = (body: Buffer) => post(body as unknown as string, { 'content-encoding': 'gzip' });
    expect(await raw(event)).toMatchObject({ status: 200 });
    await ended(who, 'is not running');
    expect(await raw(gzipSync(Buffer.alloc(40 * 1024 * 1024)))).toMatchObject({ status: 413 });
    expect(await raw(Buffer.from('not gzip'))).toMatchObject({ status: 400 });
    expect(await post('{}', { 'content-encoding': 'br' })).toMatchObject({ status: 400 });
    expect(await post('hello')).toMatchObject({ status: 400, json: { error_code: 'request_malformed' } });
  });

  it('is taken from whoever has its token, and from nobody else', async () => {
    for (const authorization of ['', 'Splunk', `Splunk ${EVENT_TOKEN}x`, `Basic ${EVENT_TOKEN}`, 'Splunk undefined'])
      expect(await post('{}', { authorization })).toMatchObject({
        ...{ status: 401, json: { error: 'invalid_token', error_code: 'github_unauthorized' } },
      });
    expect(await post('{}', { authorization: `Bearer ${EVENT_TOKEN}` })).toMatchObject({ status: 200 });
    expect(await harness.call({ path: '/services/collector/health' })).toMatchObject({ status: 200 });
  });

  it('asks nothing about people whom no live session is of, or who are elsewhere', async () => {
    // What was heard of alice before is of no session that opens now.
    harness.clockAhead += 61_000;
    await opened();
    settle();
    await github.admin.forgetCalls();
    await tell({ ...left, user: 'carol' });
    await tell({ ...left, org: 'other', team: 'other/payments' });
    await tell({ action: 'team.remove_member', org: 'acme' });
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(await github.admin.calls()).toEqual([]);
  });

  it('does nothing but count what concerns no live session', async () => {
    await github.admin.forgetCalls();
    expect(await post(JSON.stringify({ event: { action: 'codespaces.destroy', name: 'nobody-s' } }))).toMatchObject({
      status: 200,
    });
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(await github.admin.calls()).toEqual([]);
    expect((await harness.operatorCall('/metrics')).text).toMatch(/meshpass_github_events_total [1-9]/);
  });
});
