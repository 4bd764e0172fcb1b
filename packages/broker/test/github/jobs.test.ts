/** A session of a job of GitHub Actions ends with the job: a whole broker, the stand-ins for GitHub and for its issuer. */
import type { SessionResponse } from '@meshpass/identity/wire';
import { type RunningGithub, startGithub } from '@meshpass/lab/github/start';
import { type RunningActions, startActions } from '@meshpass/lab/oidc/actions';
import type { ActionsJob } from '@meshpass/lab/oidc/admin-client';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { type Enrolled, enrol, type Harness, newKey, renewLease } from '../harness/broker.ts';
import { grantBy, startGithubHarness } from '../harness/github.ts';

const REPOSITORY = 7001;

let github: RunningGithub;
let actions: RunningActions;
let harness: Harness;
let next = 1;

beforeAll(async () => {
  github = await startGithub({ listen: '127.0.0.1:0' });
  actions = await startActions({ listen: '127.0.0.1:0' });
  harness = await startGithubHarness({ github, config: { githubSweepSeconds: 1, githubMemberSeconds: 3600 } });
});
afterAll(async () => {
  await harness?.stop();
  await actions?.close();
  await github?.close();
});
beforeEach(async () => {
  await github.admin.reset();
  const issuer = { issuer: actions.issuer, audience: 'meshpass', algorithms: ['RS256'], kind: 'actions' as const };
  harness.mesh.setAccess([grantBy('ci', { issuer: 'ci', repositoryId: REPOSITORY })], [], {
    issuers: [{ name: 'ci', ...issuer }],
  });
});

interface Running {
  readonly job: ActionsJob;
  readonly set: (status: 'in_progress' | 'completed') => Promise<void>;
  readonly token: () => Promise<string>;
}

/** A job of a run of its own, as it runs. */
async function running(more: ActionsJob = {}): Promise<Running> {
  const [id, runId] = [41_000_000_000 + next, 9_200_000_000 + next++];
  const set: Running['set'] = (status) =>
    github.admin.setJob({ id, repositoryId: REPOSITORY, runId, runAttempt: 1, status });
  await set('in_progress');
  const job = { runId, checkRunId: id, ...more };
  return { job, set, token: () => actions.admin.idToken({ audience: 'meshpass', job }) };
}

async function session(job: Running): Promise<Enrolled> {
  const key = newKey();
  const answer = await enrol(harness, '', key, await job.token());
  expect(answer.text).toContain('access_token');
  return { ...(answer.json as SessionResponse), key };
}

const lives = async (who: Enrolled) => expect(await renewLease(harness, who)).toMatchObject({ kind: 'lease' });
const over = async (who: Enrolled, because: string) =>
  await vi.waitFor(
    async () =>
      expect(await renewLease(harness, who)).toMatchObject({
        kind: 'ended',
        reason: expect.stringContaining(because),
      }),
    { timeout: 60_000, interval: 100 },
  );
/** Waits for this many further requests to GitHub about it, while the session is kept alive. */
const asked = async (times: number, who: Enrolled) => {
  await github.admin.forgetCalls();
  await vi.waitFor(
    async () => {
      await lives(who);
      const calls = (await github.admin.calls()).filter((call) => call.includes('/actions/'));
      expect(calls.length).toBeGreaterThanOrEqual(times);
    },
    { timeout: 120_000, interval: 250 },
  );
};

describe('the session of a job', () => {
  it('ends when the job has ended, and no other session does', async () => {
    const [one, other] = [await running(), await running()];
    const [who, stays] = [await session(one), await session(other)];
    await asked(3, who);
    await one.set('completed');
    await over(who, 'its job has ended');
    await lives(stays);
  });

  it('ends with the attempt of its run if the token does not name the job', async () => {
    const job = await running({ checkRunId: null });
    const who = await session(job);
    await asked(2, who);
    await job.set('completed');
    await over(who, 'its job has ended');
  });

  it('does not begin again by a token that was left over, nor at the broker after a restart', async () => {
    const job = await running();
    const [who, left, more] = [await session(job), await job.token(), await job.token()];
    await job.set('completed');
    await over(who, 'its job has ended');
    const refused = { status: 400, json: { error_code: 'workspace_not_available' } };
    expect(await enrol(harness, '', newKey(), left)).toMatchObject(refused);
    await harness.restart();
    expect(await enrol(harness, '', newKey(), more)).toMatchObject(refused);
  });

  it('that opens after the job has ended ends at the next check', async () => {
    const job = await running();
    const token = await job.token();
    await job.set('completed');
    const key = newKey();
    const answer = await enrol(harness, '', key, token);
    await over({ ...(answer.json as SessionResponse), key }, 'its job has ended');
  });

  it('continues while GitHub is unavailable, for as long as its lease', async () => {
    const job = await running();
    const who = await session(job);
    // The first request may be refused for the token of the test before, and the fault would keep the broker from another token.
    await asked(2, who);
    await github.admin.setFault({ mode: 'error', status: 502 });
    await job.set('completed');
    await asked(1, who);
    harness.clockAhead += 46_000;
    await over(who, 'stopped sending heartbeats');
    await github.admin.setFault({ mode: 'none' });
  });

  it('continues if the App may not read jobs', async () => {
    const job = await running();
    const who = await session(job);
    await github.admin.suspendInstallation('acme', true);
    await job.set('completed');
    await github.admin.forgetCalls();
    await vi.waitFor(async () => expect((await github.admin.calls()).length).toBeGreaterThan(1), { timeout: 60_000 });
    await lives(who);
    await github.admin.suspendInstallation('acme', false);
    await over(who, 'its job has ended');
  });
});
