/**
 * Limits the requests to GitHub. All requests by an App installation count against the same hourly limit. The watch
 * uses its share of the remaining requests and leaves the rest for enrolments.
 * https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api
 */
import type { IssuerResponse } from '../../issuers/index.ts';

export type RateLimiter = ReturnType<typeof createRateLimiter>;

/**
 * The shares of the hourly limit. The rest is reserved for enrolments. `events` is for queries that are triggered by
 * the audit log, and `jobs` is for the GitHub Actions jobs that have a session.
 */
export const RATE_LIMIT_SHARES = { codespaces: 0.5, members: 0.15, events: 0.2, jobs: 0.05 } as const;
/** The combined share of the Codespace sweep and the member sweep. */
const SHARED = RATE_LIMIT_SHARES.codespaces + RATE_LIMIT_SHARES.members;
const RESERVE = 1 - SHARED;

/**
 * The lowest limit that an installation can have. It is assumed until GitHub reports the actual limit, which an
 * enterprise server may never do.
 */
const ASSUMED_LIMIT = 5000;
const HOUR_SECONDS = 3600;
const BURST_SECONDS = 300;
/** Large bursts are allowed, because many Codespaces stop at the same time at the end of a working day. */
const EVENT_BURST_SECONDS = 900;
const MAX_PAUSE_SECONDS = HOUR_SECONDS;

/**
 * Creates the rate limiter.
 * @param clock returns the current time in Unix milliseconds
 */
export function createRateLimiter(clock: () => number) {
  let limit = ASSUMED_LIMIT;
  let remaining: number | undefined;
  /** When the limit resets, in Unix seconds. */
  let reset = 0;
  let pausedUntil = 0;

  const pause = (seconds: number) => {
    pausedUntil = Math.max(pausedUntil, clock() + Math.min(Math.max(seconds, 1), MAX_PAUSE_SECONDS) * 1000);
  };
  /** Returns the number of remaining requests, and the number of seconds until the limit resets. */
  const window = () => {
    const seconds = reset - clock() / 1000;
    return remaining === undefined || seconds <= 0
      ? { left: limit, seconds: HOUR_SECONDS }
      : { left: remaining, seconds: Math.min(seconds, HOUR_SECONDS) };
  };

  return {
    /** Suspends all requests for the given number of seconds. */
    pause,
    /** Reads the remaining limit from a response, and pauses all requests if GitHub demands it. */
    observe({ status, headers }: IssuerResponse) {
      const number = (name: string) => Number(headers.get(name) ?? Number.NaN);
      const told = { limit: number('x-ratelimit-limit'), left: number('x-ratelimit-remaining') };
      const isCore = (headers.get('x-ratelimit-resource') ?? 'core') === 'core';
      // If GitHub does not know the token (because it was revoked early), the headers describe the limit of our IP
      // address.
      if (status !== 401 && isCore && told.limit > 0 && told.left >= 0) {
        limit = told.limit;
        remaining = told.left;
        reset = number('x-ratelimit-reset') || reset;
      }
      if (status !== 403 && status !== 429) return;
      const retryAfter = number('retry-after');
      if (retryAfter > 0) pause(retryAfter);
      else if (told.left === 0) pause(window().seconds);
    },
    /** Returns how many milliseconds remain until the next request may be sent, or 0 if it may be sent now. */
    pausedFor: () => Math.max(0, pausedUntil - clock()),
    /** Returns how many API calls GitHub allows for the rest of this hour, or undefined before the first response. */
    left: () => (remaining === undefined ? undefined : window().left),
    /**
     * Creates an allowance that can be used in bursts of up to a quarter of an hour's requests.
     * @param share the fraction of the hourly limit
     * @returns a function that returns whether a request may be sent and, if so, deducts it from the allowance
     */
    allowance(share: number) {
      let spent = 0;
      let at = clock();
      return () => {
        const now = clock();
        spent = Math.max(0, spent - ((now - at) / 1000) * ((share * limit) / HOUR_SECONDS));
        at = now;
        if (window().left < 1 || spent + 1 > share * limit * (EVENT_BURST_SECONDS / HOUR_SECONDS)) return false;
        spent++;
        return true;
      };
    },
    /**
     * Creates a pacer for a task that runs in rounds.
     * @param share the fraction of the hourly limit that the rounds may use, from RATE_LIMIT_SHARES
     */
    rounds(share: number) {
      /**
       * The number of requests in this share that have not been used. They allow a few requests to be sent without
       * delay.
       */
      let credit = share * limit * (BURST_SECONDS / HOUR_SECONDS);
      let at = clock();
      return {
        /**
         * Returns how long to wait between the end of one round and the start of the next, in milliseconds.
         * @param cost the number of requests in this round that counted against the limit (unchanged answers are free)
         * @param floorMs the minimum delay, in milliseconds
         */
        delay(cost: number, floorMs: number) {
          const { left, seconds } = window();
          const mine = (left - RESERVE * limit * (seconds / HOUR_SECONDS)) * (share / SHARED);
          // Other tasks have used up the limit. Until it resets, sessions end only when their lease expires.
          if (mine < Math.max(cost, 1)) return Math.max(floorMs, seconds * 1000);
          // Requests that other tasks do not use are saved for later, because enrolments arrive in bursts.
          const perSecond = Math.min((share * limit) / HOUR_SECONDS, mine / seconds);
          const now = clock();
          credit = Math.min(credit + ((now - at) / 1000) * perSecond, perSecond * BURST_SECONDS) - cost;
          at = now;
          return Math.max(floorMs, (-credit / perSecond) * 1000);
        },
      };
    },
  };
}
