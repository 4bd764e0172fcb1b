/** A whole broker that watches the fake of GitHub, and what its tests ask of both. */
import { join } from 'node:path';
import type { Grant } from '@meshpass/access';
import type { StartedCodespace } from '@meshpass/lab/github/admin-client';
import { type RunningGithub, startGithub } from '@meshpass/lab/github/start';
import { expect, vi } from 'vitest';
import { SETTLE_SECONDS } from '../../src/attest/github/losses.ts';
import { readStore } from './audit.ts';
import { type Enrolled, type Harness, renewLease } from './broker.ts';
import { type GithubHarnessOptions, grantBy, opened as openedBy, startGithubHarness } from './github.ts';

export const GRANTS: readonly Grant[] = [
  grantBy('team', { team: 'acme/payments' }),
  grantBy('person', { user: 'alice' }),
];

export const isListing = (url: URL) => url.pathname === '/orgs/acme/codespaces';

export function createWatch() {
  const watch = {
    github: undefined as unknown as RunningGithub,
    harness: undefined as unknown as Harness,
    /** Changes what GitHub answers on its way; may throw. */
    onTheWay: (async (_, answer) => answer) as (url: URL, answer: Response) => Promise<Response>,
  };
  const begin = async () => {
    watch.github = await startGithub({ listen: '127.0.0.1:0' });
  };
  const end = async () => await watch.github?.close();
  const start = (config: object, read?: GithubHarnessOptions['read']) =>
    startGithubHarness({
      github: watch.github,
      config,
      onTheWay: (url, answer) => watch.onTheWay(url, answer),
      ...(read && { read }),
    });
  const trusting = (grants: readonly Grant[] = GRANTS, organization = 'acme') =>
    watch.harness.mesh.setAccess(grants, [], { codespaces: { organization } });
  const enrolled = (space: StartedCodespace) => openedBy(watch.harness, space);
  const opened = async (owner = 'alice', repository = 'acme/payments-api') => {
    const space = await watch.github.admin.createCodespace({ owner, repository, tokenReadsCodespaces: true });
    return { space, who: await enrolled(space) };
  };
  const renewed = (who: Enrolled) => renewLease(watch.harness, who);
  const settle = () => {
    watch.harness.clockAhead += SETTLE_SECONDS * 1000 + 500;
  };
  const ended = async (who: Enrolled, because: string) =>
    await vi.waitFor(
      async () => {
        expect(await renewed(who)).toMatchObject({ kind: 'ended', reason: expect.stringContaining(because) });
      },
      { timeout: 60_000, interval: 100 },
    );
  const lives = async (who: Enrolled) => expect(await renewed(who)).toMatchObject({ kind: 'lease' });
  /** Waits until GitHub has received this many requests for whole lists from now on. */
  const asked = async (times: number, path = '/orgs/acme/codespaces') => {
    await watch.github.admin.forgetCalls();
    await vi.waitFor(
      async () => {
        const calls = await watch.github.admin.calls();
        expect(calls.filter((call) => call === `GET ${path}`).length).toBeGreaterThan(times);
      },
      { timeout: 60_000, interval: 100 },
    );
  };
  const detailOf = async (who: Enrolled) => {
    await watch.harness.broker.close();
    const { audit, sessions } = await readStore({ dataDir: join(watch.harness.dir, 'data') });
    const row = audit.find(({ action, session_id }) => action === 'session.close' && session_id === who.session.id);
    const stored = sessions.find(({ id }) => id === who.session.id);
    await watch.harness.restart();
    return { row: JSON.parse(row?.detail ?? '{}'), stored: stored?.close_cause };
  };
  const actions = { begin, end, start, trusting, enrolled, opened, renewed, settle, ended, lives, asked, detailOf };
  return Object.assign(watch, actions);
}
