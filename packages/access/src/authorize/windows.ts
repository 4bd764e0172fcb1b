/** Whether a grant is open at an instant, and until when. Times of day are those of a time zone, daylight saving included. */
import type { Window } from '../model.ts';

/** Nothing is asked about that lies farther ahead: a session lives 12 hours at most. */
const HORIZON_SECONDS = 24 * 3600;
const DAY_MINUTES = 24 * 60;

/**
 * @param windows alternatives
 * @param at Unix seconds
 * @returns Unix seconds at which all of them are closed for the first time after `at`, at most a day ahead; undefined
 * where all of them are closed at `at`
 * @example
 * ```ts
 * import { openUntil, parseAccess } from '@meshpass/access';
 * const access = parseAccess(`
 * trust: {codespaces: {organization: acme}}
 * grants:
 *   dev:
 *     who: [{user: alice}]
 *     to: [{service: orders.shop, port: 80}]
 *     during: [{from: "08:00", to: "18:00"}]`, 'access.yaml');
 * const { during } = access.grants[0]!;
 * openUntil(during!, Date.UTC(2026, 0, 5, 9) / 1000); // => 1767636000
 * openUntil(during!, Date.UTC(2026, 0, 5, 19) / 1000); // => undefined
 * ```
 */
export function openUntil(windows: readonly Window[], at: number): number | undefined {
  let end: number | undefined;
  for (let from = at; from < at + HORIZON_SECONDS; from = end) {
    const ends = windows.flatMap((window) => closesAt(window, from) ?? []);
    if (ends.length === 0) return end;
    end = Math.max(...ends);
  }
  return at + HORIZON_SECONDS;
}

/** The first closing of one window that is open at `at`; undefined where it is closed. */
function closesAt({ days, from, to, zone, after, before }: Window, at: number): number | undefined {
  if ((after !== undefined && at < after) || (before !== undefined && at >= before)) return undefined;
  const ends = [before ?? Number.POSITIVE_INFINITY, at + HORIZON_SECONDS];
  if (days !== undefined || from !== undefined) {
    const opening = { days, from: from ?? 0, to: to ?? DAY_MINUTES };
    const left = minutesLeft(opening, wallClock(zone, at));
    if (left === undefined) return undefined;
    ends.push(later(zone, at, left));
  }
  return Math.min(...ends);
}

interface WallClock {
  /** 0 is Sunday. */
  readonly day: number;
  readonly minute: number;
  readonly second: number;
}

interface Opening {
  readonly days: readonly number[] | undefined;
  readonly from: number;
  readonly to: number;
}

/** Minutes from the beginning of the present one to the closing; what crosses midnight belongs to the day it began on. */
function minutesLeft({ days, from, to }: Opening, { day, minute }: WallClock): number | undefined {
  const opensOn = (one: number) => days === undefined || days.includes(one);
  const overnight = to <= from;
  if (opensOn(day) && minute >= from && (overnight || minute < to)) {
    return (overnight ? to + DAY_MINUTES : to) - minute;
  }
  return overnight && opensOn((day + 6) % 7) && minute < to ? to - minute : undefined;
}

/** The instant at which clocks of the zone show so many minutes more, to the full minute. */
function later(zone: string, at: number, minutes: number): number {
  const minute = at - wallClock(zone, at).second;
  const target = minute + minutes * 60;
  // Where the offset changes meanwhile, the clock reaches that time so much sooner or later; or never, where it jumps
  // over it: then the caller looks again every minute.
  return Math.max(minute + 60, target - (offset(zone, target) - offset(zone, at)));
}

/** Seconds east of UTC. */
function offset(zone: string, at: number): number {
  const parts = partsOf(zone, at);
  return Date.UTC(parts.year!, parts.month! - 1, parts.day!, parts.hour!, parts.minute!, parts.second!) / 1000 - at;
}

function wallClock(zone: string, at: number): WallClock {
  const local = new Date((at + offset(zone, at)) * 1000);
  return {
    day: local.getUTCDay(),
    minute: local.getUTCHours() * 60 + local.getUTCMinutes(),
    second: local.getUTCSeconds(),
  };
}

const formats = new Map<string, Intl.DateTimeFormat>();

function partsOf(zone: string, at: number): Readonly<Record<string, number>> {
  let format = formats.get(zone);
  if (!format) {
    format = new Intl.DateTimeFormat('en-US', {
      ...{ timeZone: zone, hourCycle: 'h23', calendar: 'gregory', numberingSystem: 'latn' },
      ...{ year: 'numeric', month: 'numeric', day: 'numeric', hour: 'numeric', minute: 'numeric', second: 'numeric' },
    });
    formats.set(zone, format);
  }
  return Object.fromEntries(format.formatToParts(at * 1000).map(({ type, value }) => [type, Number(value)] as const));
}
