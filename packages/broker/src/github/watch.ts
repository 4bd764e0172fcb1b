/**
 * Watches GitHub: which Codespaces and jobs run, and who is still in the teams that gave access. One question at a time, in the pace
 * that GitHub's budget allows. It can end sessions sooner than their leases would and never prolongs one.
 */
import { MeshpassError } from '@meshpass/identity';
import { createTimers, type Wait } from '../clock/timers.ts';
import type { RecheckContext } from '../session/recheck.ts';
import { type AuditEventHandler, createAuditEventHandler } from './audit-event-handler.ts';
import { type RateLimiter, type Rounds, SHARE } from './rate-limiter.ts';
import type { ReadGithub } from './reader.ts';
import { createCodespaceSweep } from './sweep-codespaces.ts';
import { createJobSweep } from './sweep-jobs.ts';
import { createMemberSweep } from './sweep-members.ts';

export interface WatchOptions {
  readonly read: ReadGithub;
  /** Told by `read` of every answer. */
  readonly rateLimiter: RateLimiter;
  readonly sessions: RecheckContext;
  /** Never sooner than this after the sweep before, seconds; the budget may make it later. */
  readonly sweepSeconds: number;
  readonly memberSeconds: number;
  readonly onFailure: (cause: unknown) => void;
  /** Default: a timer. */
  readonly wait?: Wait;
}

export interface Watch extends Pick<AuditEventHandler, 'handle' | 'opened' | 'considerEvidence'> {
  /** Seconds since the last whole look at the Codespaces began; undefined before the first. */
  readonly sweepAge: () => number | undefined;
  readonly memberAge: () => number | undefined;
  readonly callsLeft: () => number | undefined;
  readonly stop: () => void;
}

interface Task {
  readonly rounds: Rounds;
  readonly floorMs: number;
  readonly run: (onCost: () => void) => Promise<void>;
  /** Unix milliseconds. */
  dueAt: number;
  doneAt?: number;
  failures: number;
}

/** While GitHub does not answer: twice as long each time, up to this. */
const MAX_BACKOFF_MS = 60_000;
/** How long a pause is slept through at once. */
const MAX_SLEEP_MS = 60_000;

export function startWatching(options: WatchOptions): Watch {
  const { read, rateLimiter, sessions, onFailure } = options;
  const { clock } = sessions;
  const timers = createTimers();
  const wait = options.wait ?? timers.wait;
  const organization = () =>
    sessions.mesh.inForce() ? sessions.mesh.access().trust.codespaces?.organization : undefined;
  const codespaces = createCodespaceSweep({ read, sessions, onFailure });
  const jobs = createJobSweep({ read, sessions, onFailure });
  const members = createMemberSweep(read, sessions);
  const handler = createAuditEventHandler({
    ...{ read, rateLimiter, sessions, organization, wait, onFailure, wasMember: members.wasMember },
  });
  let stopped = false;

  const task = (share: number, floorSeconds: number, run: Task['run']): Task => ({
    ...{ rounds: rateLimiter.rounds(share), run, floorMs: floorSeconds * 1000, dueAt: clock(), failures: 0 },
  });
  const sweeping = task(SHARE.codespaces, options.sweepSeconds, async (onCost) => {
    const trusted = organization();
    if (trusted !== undefined) await codespaces.sweep(trusted, onCost);
  });
  const asking = task(SHARE.members, options.memberSeconds, (onCost) => members.sweep(organization(), onCost));
  const seeing = task(SHARE.jobs, options.sweepSeconds, jobs.sweep);

  const perform = async (one: Task) => {
    let cost = 0;
    const began = clock();
    try {
      await one.run(() => cost++);
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
    while (!stopped) {
      const now = clock();
      const due = [sweeping, asking, seeing].filter(({ dueAt }) => dueAt <= now);
      // Nobody to watch over costs nothing.
      if (sessions.live.size() === 0)
        for (const one of due.splice(0)) [one.doneAt, one.dueAt] = [now, now + one.floorMs];
      if (rateLimiter.pausedFor() === 0) for (const one of due) if (!stopped) await perform(one);
      const next = Math.max(rateLimiter.pausedFor(), Math.min(sweeping.dueAt, asking.dueAt, seeing.dueAt) - clock());
      if (!stopped) await wait(Math.min(Math.max(next, 1), MAX_SLEEP_MS));
    }
  };
  watch().catch(onFailure);

  const age = ({ doneAt }: Task) => (doneAt === undefined ? undefined : (clock() - doneAt) / 1000);
  return {
    handle: handler.handle,
    opened: handler.opened,
    considerEvidence: handler.considerEvidence,
    sweepAge: () => age(sweeping),
    memberAge: () => age(asking),
    callsLeft: rateLimiter.left,
    stop: () => {
      stopped = true;
      handler.stop();
      timers.stop();
    },
  };
}
