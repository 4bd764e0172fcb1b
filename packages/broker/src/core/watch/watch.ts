/**
 * Watches GitHub for Codespaces and jobs that have ended, and for memberships that have been lost. Sweeps run one after
 * another, at a pace that GitHub's rate limit allows. The watch can end a session before its lease expires, but it
 * never extends a session.
 */

import { MeshpassError } from '@meshpass/identity';
import type { ReadGithub } from '../../attest/index.ts';
import { pause } from '../../base/index.ts';
import type { SessionContext } from '../session/context.ts';
import { createAuditEventHandler } from './audit-event-handler.ts';
import { RATE_LIMIT_SHARES, type RateLimiter } from './rate-limiter.ts';
import type { Wait } from './rechecks.ts';
import { createCodespaceSweep } from './sweep-codespaces.ts';
import { createJobSweep } from './sweep-jobs.ts';
import { createMemberSweep } from './sweep-members.ts';

export interface WatchOptions {
  readonly read: ReadGithub;
  /** The rate limiter, which must observe every response to `read`. */
  readonly rateLimiter: RateLimiter;
  readonly sessions: SessionContext;
  /** The minimum number of seconds between sweeps. The rate limit may delay them further. */
  readonly sweepSeconds: number;
  readonly memberSeconds: number;
  readonly onFailure: (cause: unknown) => void;
  /** Waits between rounds. Defaults to a timer. */
  readonly wait?: Wait;
}

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
  const { clock } = sessions;
  const stopping = new AbortController();
  const { signal: stopped } = stopping;
  const { wait = (ms, signal) => pause(ms, signal, { ref: false }) } = options;
  const organization = () =>
    sessions.mesh.inForce() ? sessions.mesh.access().trust.codespaces?.organization : undefined;
  const codespaces = createCodespaceSweep(sessions, onFailure);
  const jobs = createJobSweep(sessions, onFailure);
  const members = createMemberSweep(sessions);
  const handler = createAuditEventHandler({
    read,
    rateLimiter,
    sessions,
    organization,
    wait,
    stopped,
    onFailure,
    wasMember: members.wasMember,
  });

  const task = (share: number, floorSeconds: number, run: Task['run']): Task => ({
    rounds: rateLimiter.rounds(share),
    run,
    floorMs: floorSeconds * 1000,
    dueAt: clock(),
    failures: 0,
  });
  const sweeping = task(RATE_LIMIT_SHARES.codespaces, options.sweepSeconds, async (counted) => {
    const trusted = organization();
    if (trusted !== undefined) await codespaces.sweep(counted, trusted);
  });
  const asking = task(RATE_LIMIT_SHARES.members, options.memberSeconds, (counted) =>
    members.sweep(counted, organization()),
  );
  const seeing = task(RATE_LIMIT_SHARES.jobs, options.sweepSeconds, jobs.sweep);

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
    while (!stopping.signal.aborted) {
      const now = clock();
      const due = [sweeping, asking, seeing].filter(({ dueAt }) => dueAt <= now);
      // If there are no live sessions, there is nothing to check, so no requests are sent.
      if (sessions.live.size() === 0)
        for (const one of due.splice(0)) [one.doneAt, one.dueAt] = [now, now + one.floorMs];
      if (rateLimiter.pausedFor() === 0) for (const one of due) if (!stopping.signal.aborted) await perform(one);
      const next = Math.max(rateLimiter.pausedFor(), Math.min(sweeping.dueAt, asking.dueAt, seeing.dueAt) - clock());
      if (!stopping.signal.aborted) await wait(Math.min(Math.max(next, 1), MAX_SLEEP_MS), stopped);
    }
  };
  watch().catch(onFailure);

  const age = ({ doneAt }: Task) => (doneAt === undefined ? undefined : (clock() - doneAt) / 1000);
  return {
    handle: handler.handle,
    opened: handler.opened,
    considerEvidence: handler.considerEvidence,
    /**
     * Returns the number of seconds since the last complete Codespace sweep began, or undefined before the first one.
     */
    sweepAge: () => age(sweeping),
    memberAge: () => age(asking),
    callsLeft: rateLimiter.left,
    stop: () => stopping.abort(),
  };
}
