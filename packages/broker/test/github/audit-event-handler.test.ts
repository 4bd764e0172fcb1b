/** Events that come close together: none is lost because another is being followed. */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createLosses } from '../../src/attest/github/losses.ts';
import { pause } from '../../src/base/clock/timers.ts';
import type { SessionContext } from '../../src/core/session/context.ts';
import type { Live } from '../../src/core/session/live.ts';
import { createAuditEventHandler } from '../../src/core/watch/audit-event-handler.ts';
import type { GithubAuditEvent } from '../../src/core/watch/audit-events.ts';
import { createMemberWatch } from '../../src/core/watch/member-watch.ts';
import { createRateLimiter } from '../../src/core/watch/rate-limiter.ts';

const START = 1_800_000_000_000;
const left = (org: string): GithubAuditEvent => ({
  action: 'team.remove_member',
  user: 'alice',
  userId: undefined,
  id: undefined,
  organization: org,
  team: `${org}/payments`,
});

/** A live session of a job of alice's, in a team of each of two organizations; GitHub says she is in all of them. */
function world() {
  const clock = () => Date.now();
  const session = {
    id: 's1',
    openedAt: START / 1000 - 3600,
    attestation: {
      attestor: 'github-actions',
      claims: {},
      githubUser: { id: 1, login: 'alice' },
      teams: ['acme/payments', 'beta/payments'],
    },
  };
  const lives = [{ session } as unknown as Live];
  const asked: string[] = [];
  let answer = async () => {};
  const options = {
    read: async (organization: string, path: string) => {
      if (path.startsWith('/orgs/') && path.endsWith('/memberships/alice') && !path.includes('/teams/'))
        asked.push(organization);
      await answer();
      const user = { id: 1, login: 'alice' };
      return { status: 200, headers: new Headers(), body: { state: 'active', role: 'member', user } };
    },
    rateLimiter: createRateLimiter(clock),
    sessions: {
      clock,
      losses: createLosses(clock),
      live: { all: () => lives, size: () => 0 },
      mesh: { inForce: () => true, access: () => ({ trust: {} }) },
    } as unknown as SessionContext,
    onFailure: (cause: unknown) => {
      throw cause;
    },
  };
  return { asked, options, answerBy: (next: () => Promise<void>) => (answer = next) };
}

describe('events of one session', () => {
  beforeEach(() => void vi.useFakeTimers({ now: START }));
  afterEach(() => void vi.useRealTimers());
  const start = ({ options }: ReturnType<typeof world>) => {
    const stopping = new AbortController();
    const wait = (ms: number, signal: AbortSignal) => pause(ms, signal, { ref: false });
    const context = { ...options, wait, stopped: stopping.signal, organization: () => undefined };
    const { handle } = createAuditEventHandler(context, createMemberWatch(options.sessions));
    return { handle, stop: () => stopping.abort() };
  };

  it('of two organizations are both followed', async () => {
    const here = world();
    const watch = start(here);
    watch.handle([left('acme')]);
    await vi.advanceTimersByTimeAsync(100);
    watch.handle([left('beta')]);
    await vi.advanceTimersByTimeAsync(60_000);
    watch.stop();
    expect(here.asked.filter((one) => one === 'acme')).toHaveLength(4);
    expect(here.asked.filter((one) => one === 'beta')).toHaveLength(4);
  });

  it('restart the questions even while GitHub answers the last of them', async () => {
    const here = world();
    const watch = start(here);
    watch.handle([left('acme')]);
    await vi.advanceTimersByTimeAsync(41_000);
    expect(here.asked).toHaveLength(3);
    const go = Promise.withResolvers<void>();
    here.answerBy(() => go.promise);
    await vi.advanceTimersByTimeAsync(2_000);
    expect(here.asked).toHaveLength(4);
    watch.handle([left('acme')]);
    go.resolve();
    await vi.advanceTimersByTimeAsync(60_000);
    watch.stop();
    expect(here.asked).toHaveLength(8);
  });

  it('leave no timers behind', async () => {
    const here = world();
    const watch = start(here);
    watch.handle([left('acme')]);
    await vi.advanceTimersByTimeAsync(100);
    const timers = vi.getTimerCount();
    for (let n = 0; n < 20; n++) {
      watch.handle([left('acme')]);
      await vi.advanceTimersByTimeAsync(10);
    }
    expect(vi.getTimerCount()).toBe(timers);
    watch.stop();
    expect(vi.getTimerCount()).toBe(0);
  });
});
