/**
 * Repeats a query to GitHub about a live session until the answer is conclusive, because GitHub's API lags behind its
 * own audit log. At most one recheck is in progress for each subject of a session, which is either its Codespace or the
 * developer's memberships in one organization.
 */

import { type ReadGithub, SETTLE_SECONDS } from '../../attest/index.ts';
import type { SessionContext } from '../session/context.ts';
import type { Live } from '../session/live.ts';
import type { Session } from '../session/session.ts';
import { RATE_LIMIT_SHARES, type RateLimiter } from './rate-limiter.ts';

/** The dependencies of the watch. */
export interface WatchContext {
  readonly read: ReadGithub;
  /** The rate limiter, which must observe every response to `read`. */
  readonly rateLimiter: RateLimiter;
  readonly sessions: SessionContext;
  readonly onFailure: (cause: unknown) => void;
  /** Waits for the given number of milliseconds, or until the signal is aborted. */
  readonly wait: (ms: number, signal: AbortSignal) => Promise<void>;
  /** Aborts everything that is in progress. */
  readonly stopped: AbortSignal;
  /** Returns the organization that the access file trusts, in lower case. */
  readonly organization: () => string | undefined;
}

/** Queries GitHub and returns whether the session has lost anything. If it has, the query is not repeated. */
type Ask = (read: ReadGithub) => Promise<boolean>;

/** The delays before each successive query, in milliseconds. */
const ASK_AFTER_MS = [0, 2_000, 10_000, 30_000];
/** The maximum number of rechecks that can be in progress. Any others are left to the sweeps. */
const MAX_PENDING = 500;

/** Thrown when the audit log's share of the rate limit is exhausted for the time being. */
class Spent extends Error {}

/**
 * Whether an answer from GitHub reflects the state after the session opened. GitHub reported `Available` at that time,
 * but some of its servers may briefly still report a state from before the Codespace started. Answers to queries that
 * were sent within SETTLE_SECONDS of the opening are therefore ignored.
 * @param askedAt when the query was sent, in Unix milliseconds
 */
export function isSettled(session: Pick<Session, 'openedAt'>, askedAt: number): boolean {
  return askedAt >= settledAt(session);
}

/** Returns when the answers to new queries begin to count, in Unix milliseconds. */
function settledAt({ openedAt }: Pick<Session, 'openedAt'>): number {
  return (openedAt + SETTLE_SECONDS) * 1000;
}

/** Creates a function that starts rechecks. */
export function createRechecks({ rateLimiter, sessions, wait, stopped, onFailure, ...context }: WatchContext) {
  const pending = new Map<string, { readonly replaced: AbortController; readonly done: Promise<void> }>();

  /** Limits the queries, because they can be triggered by any client that has the stream's token. */
  const mayAsk = rateLimiter.allowance(RATE_LIMIT_SHARES.events);
  const read: ReadGithub = async (...question) => {
    if (!mayAsk()) throw new Spent();
    return await context.read(...question);
  };

  /** Sends the query once. A failure is treated as an inconclusive answer. */
  const isConclusive = async (ask: Ask): Promise<boolean> => {
    if (rateLimiter.pausedFor() > 0) return false;
    try {
      return await ask(read);
    } catch (thrown) {
      // Do not log an exhausted share for every event, because the sweeps continue regardless.
      if (!(thrown instanceof Spent)) onFailure(thrown);
      return false;
    }
  };

  const run = async (live: Live, ask: Ask, signal: AbortSignal): Promise<void> => {
    for (const delay of ASK_AFTER_MS) {
      const rest = Math.max(delay, settledAt(live.session) - sessions.clock());
      if (rest > 0) await wait(rest, signal);
      if (signal.aborted || live.ended || (await isConclusive(ask))) return;
    }
  };

  /**
   * Starts a recheck, which replaces any recheck that is in progress for the same subject.
   * @param subject identifies the subject within the session
   */
  return (subject: string, live: Live, ask: Ask): void => {
    const key = `${subject} ${live.session.id}`;
    const before = pending.get(key);
    if (!before && pending.size >= MAX_PENDING) return;
    before?.replaced.abort();
    const replaced = new AbortController();
    // An answer says nothing about events that arrived after its query was sent, so query again.
    const done = Promise.resolve(before?.done)
      .then(() => run(live, ask, AbortSignal.any([stopped, replaced.signal])))
      .catch(onFailure)
      .finally(() => {
        if (pending.get(key)?.replaced === replaced) pending.delete(key);
      });
    pending.set(key, { replaced, done });
  };
}
