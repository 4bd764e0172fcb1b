/**
 * Watches GitHub for Codespaces and jobs that have ended, and for memberships that have been lost. Sweeps run one after
 * another, at a pace that GitHub's rate limit allows. The watch can end a session before its lease expires, but it
 * never extends a session.
 */

import { MeshpassError } from '@meshpass/identity';
import type { ReadGithub } from '../../attest/index.ts';
import { pause } from '../../base/index.ts';
import { createAuditEventHandler } from './audit-event-handler.ts';
import type { GithubAuditEvent } from './audit-events.ts';
import { githubEventRoutes } from './audit-stream-route.ts';
import { createCodespaceSweep } from './codespace-watch.ts';
import { createJobSweep } from './job-watch.ts';
import { createMemberWatch } from './member-watch.ts';
import { RATE_LIMIT_SHARES, type RateLimiter } from './rate-limiter.ts';
import type { WatchContext } from './rechecks.ts';

/** The dependencies of the watch. By default, it waits by a timer. */
export interface WatchOptions
  extends Pick<WatchContext, 'read' | 'rateLimiter' | 'sessions' | 'onFailure'>,
    Partial<Pick<WatchContext, 'wait'>> {}

interface Task {
  readonly rounds: ReturnType<RateLimiter['rounds']>;
  readonly floorMs: number;
  readonly run: (read: ReadGithub) => Promise<void>;
  /** When the next round is due, in Unix milliseconds. */
  dueAt: number;
  doneAt?: number;
  failures: number;
}

/** The maximum delay while GitHub is unavailable, in milliseconds. The delay doubles with each failure. */
const MAX_BACKOFF_MS = 60_000;
/** The maximum duration of a single sleep, in milliseconds. */
const MAX_SLEEP_MS = 60_000;

/** Starts watching GitHub for changes that end sessions or grants. */
export function startGithubWatch(options: WatchOptions) {
  const { read, rateLimiter, sessions, onFailure } = options;
  const { clock, mesh, config, metrics, githubEventToken } = sessions;
  const stopping = new AbortController();
  const { signal: stopped } = stopping;
  const { wait = (ms, signal) => pause(ms, signal, { ref: false }) } = options;
  const organization = () => (mesh.inForce() ? mesh.access().trust.codespaces?.organization.toLowerCase() : undefined);
  const sweepCodespaces = createCodespaceSweep(sessions, onFailure);
  const members = createMemberWatch(sessions);
  const handler = createAuditEventHandler({ ...options, wait, stopped, organization }, members);
  const handle = (events: readonly GithubAuditEvent[]) => {
    metrics.githubEvents(events.length);
    handler.handle(events);
  };

  const task = (share: number, floorSeconds: number, run: Task['run']): Task => ({
    rounds: rateLimiter.rounds(share),
    run,
    floorMs: floorSeconds * 1000,
    dueAt: clock(),
    failures: 0,
  });
  const sweeping = task(RATE_LIMIT_SHARES.codespaces, config.githubSweepSeconds, async (counted) => {
    const trusted = organization();
    if (trusted !== undefined) await sweepCodespaces(counted, trusted);
  });
  const asking = task(RATE_LIMIT_SHARES.members, config.githubMemberSeconds, (counted) =>
    members.sweep(counted, organization()),
  );
  const seeing = task(RATE_LIMIT_SHARES.jobs, config.githubSweepSeconds, createJobSweep(sessions, onFailure));

  const perform = async (one: Task) => {
    /** The number of requests that counted against the rate limit. Unchanged answers are free. */
    let cost = 0;
    const began = clock();
    try {
      await one.run(async (...question) => {
        cost++;
        const answer = await read(...question);
        if (answer?.status === 304) cost--;
        return answer;
      });
      [one.doneAt, one.failures] = [began, 0];
    } catch (thrown) {
      one.failures++;
      if (thrown instanceof MeshpassError && thrown.code === 'issuer_rate_limited')
        rateLimiter.pause(thrown.retryAfter ?? 60);
      onFailure(thrown);
    }
    const backoff = one.failures > 0 ? Math.min(MAX_BACKOFF_MS, 1000 * 2 ** one.failures) : 0;
    one.dueAt = clock() + Math.max(backoff, one.rounds.delay(cost, one.floorMs));
  };

  const watch = async () => {
    while (!stopped.aborted) {
      const now = clock();
      const due = [sweeping, asking, seeing].filter(({ dueAt }) => dueAt <= now);
      // If there are no live sessions, there is nothing to check, so no requests are sent.
      if (sessions.live.size() === 0)
        for (const one of due.splice(0)) [one.doneAt, one.dueAt] = [now, now + one.floorMs];
      if (rateLimiter.pausedFor() === 0) for (const one of due) if (!stopped.aborted) await perform(one);
      const next = Math.max(rateLimiter.pausedFor(), Math.min(sweeping.dueAt, asking.dueAt, seeing.dueAt) - clock());
      if (!stopped.aborted) await wait(Math.min(Math.max(next, 1), MAX_SLEEP_MS), stopped);
    }
  };
  watch().catch(onFailure);

  const age = ({ doneAt }: Task) => (doneAt === undefined ? undefined : (clock() - doneAt) / 1000);
  return {
    opened: handler.opened,
    considerEvidence: handler.considerEvidence,
    /** The routes that receive GitHub's audit log stream. */
    routes: githubEventToken === undefined ? [] : githubEventRoutes(githubEventToken, handle),
    gauges: {
      /** Returns the seconds since the last complete Codespace sweep began, or undefined before the first one. */
      githubSweepAge: () => age(sweeping),
      githubMemberAge: () => age(asking),
      githubCallsLeft: rateLimiter.left,
    },
    stop: () => stopping.abort(),
  };
}
