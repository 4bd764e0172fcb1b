/**
 * How often GitHub may be asked. One budget of calls an hour is shared by everything that the installation does; what is
 * watched takes its share of what GitHub says is left and leaves the rest to developers who enrol.
 * https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api
 */
import type { IssuerResponse } from '../attest/issuer-http.ts';

export interface RateLimiter {
  /** Learns from an answer what is left, and whether to keep silent for a while. */
  readonly observe: (answer: IssuerResponse) => void;
  /** Nothing is asked for so long, seconds. */
  readonly pause: (seconds: number) => void;
  /** Milliseconds for which nothing may be asked; 0: now. */
  readonly pausedFor: () => number;
  /** API calls left in this hour, as reported by GitHub; undefined before the first answer. */
  readonly left: () => number | undefined;
  /** @param share of the hourly limit that the rounds of one task may use: SHARE */
  readonly rounds: (share: number) => Rounds;
  /** @param share of the hourly limit that may be spent, at most a quarter of an hour's worth at once; says whether a call may be made */
  readonly allowance: (share: number) => () => boolean;
}

export interface Rounds {
  /**
   * Milliseconds from the end of one round to the next.
   * @param cost calls of this round that counted (unchanged answers are free)
   * @param floorMs never sooner
   */
  readonly delay: (cost: number, floorMs: number) => number;
}

/**
 * Of the hourly limit. The rest is for enrolments; `events` is what the audit log may make the broker ask, `jobs` are those of
 * GitHub Actions that have a session.
 */
export const SHARE = { codespaces: 0.5, members: 0.15, events: 0.2, jobs: 0.05 } as const;
/** Of the rounds. */
const SHARED = SHARE.codespaces + SHARE.members;
const RESERVE = 1 - SHARED;

/** The least that an installation has; assumed until GitHub says otherwise (an enterprise server may never say). */
const ASSUMED_LIMIT = 5000;
const HOUR_SECONDS = 3600;
const BURST_SECONDS = 300;
/** Codespaces are stopped together when a day's work ends. */
const EVENT_BURST_SECONDS = 900;
const MAX_PAUSE_SECONDS = HOUR_SECONDS;

/** @param clock Unix milliseconds */
export function createRateLimiter(clock: () => number): RateLimiter {
  let limit = ASSUMED_LIMIT;
  let remaining: number | undefined;
  /** Unix seconds. */
  let reset = 0;
  let pausedUntil = 0;

  const pause = (seconds: number) => {
    pausedUntil = Math.max(pausedUntil, clock() + Math.min(Math.max(seconds, 1), MAX_PAUSE_SECONDS) * 1000);
  };
  /** What is left now, and seconds until it is whole again. */
  const window = () => {
    const seconds = reset - clock() / 1000;
    return remaining === undefined || seconds <= 0
      ? { left: limit, seconds: HOUR_SECONDS }
      : { left: remaining, seconds: Math.min(seconds, HOUR_SECONDS) };
  };

  return {
    pause,
    observe({ status, headers }) {
      const number = (name: string) => Number(headers.get(name) ?? Number.NaN);
      const told = { limit: number('x-ratelimit-limit'), left: number('x-ratelimit-remaining') };
      const isCore = (headers.get('x-ratelimit-resource') ?? 'core') === 'core';
      // Who is not known (a token that was revoked before its time) is told the budget of its address.
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
    pausedFor: () => Math.max(0, pausedUntil - clock()),
    left: () => (remaining === undefined ? undefined : window().left),
    allowance(share) {
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
    rounds(share) {
      /** What was not used of the share lately, calls: few calls need not wait. */
      let credit = share * limit * (BURST_SECONDS / HOUR_SECONDS);
      let at = clock();
      return {
        delay(cost, floorMs) {
          const { left, seconds } = window();
          const mine = (left - RESERVE * limit * (seconds / HOUR_SECONDS)) * (share / SHARED);
          // Others have spent it: leases decide until the hour is over.
          if (mine < Math.max(cost, 1)) return Math.max(floorMs, seconds * 1000);
          // What others leave over is for others who come later: enrolments arrive in bursts.
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
