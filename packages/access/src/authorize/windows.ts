/** Time windows of grants. The times of day are local to a time zone and take daylight saving time into account. */
import { memoize } from '@meshpass/identity/memory/memoize';
import type { Window } from '../model.ts';

/** How far to search ahead. A session lasts at most 12 hours, so a day is enough. */
const HORIZON_SECONDS = 24 * 3600;
const DAY_MINUTES = 24 * 60;

/**
 * Returns the time when a set of time windows closes.
 * @param windows the windows, any of which may be open
 * @param at the current time, in Unix seconds
 * @returns the first time after `at` at which every window is closed, in Unix seconds and at most one day ahead, or
 *   undefined if all windows are already closed at `at`
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

/** Returns the time when a window that is open at `at` closes. Returns undefined if the window is not open. */
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
  /** The day of the week, where 0 is Sunday. */
  readonly day: number;
  readonly minute: number;
  readonly second: number;
}

interface Opening {
  readonly days: readonly number[] | undefined;
  readonly from: number;
  readonly to: number;
}

/**
 * Returns the number of minutes from the start of the current minute until the window closes. A window that crosses
 * midnight belongs to the day when it opens.
 */
function minutesLeft({ days, from, to }: Opening, { day, minute }: WallClock): number | undefined {
  const opensOn = (one: number) => days === undefined || days.includes(one);
  const overnight = to <= from;
  if (opensOn(day) && minute >= from && (overnight || minute < to)) {
    return (overnight ? to + DAY_MINUTES : to) - minute;
  }
  return overnight && opensOn((day + 6) % 7) && minute < to ? to - minute : undefined;
}

/**
 * Returns the time after the given number of minutes, rounded down to the full minute. If the time zone changes its
 * clocks before then, returns the time of that change instead, and the caller continues from there.
 */
function later(zone: string, at: number, minutes: number): number {
  const target = at - wallClock(zone, at).second + minutes * 60;
  const before = offset(zone, at);
  if (offset(zone, target) === before) return target;
  let [unchanged, changed] = [at, target];
  while (changed - unchanged > 1) {
    const middle = Math.floor((unchanged + changed) / 2);
    if (offset(zone, middle) === before) unchanged = middle;
    else changed = middle;
  }
  return changed;
}

/** Returns the UTC offset of a time zone in seconds. It is positive east of Greenwich. */
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

const formatOf = memoize(
  (timeZone: string) =>
    new Intl.DateTimeFormat('en-US', {
      timeZone,
      hourCycle: 'h23',
      calendar: 'gregory',
      numberingSystem: 'latn',
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
      minute: 'numeric',
      second: 'numeric',
    }),
  new Map(),
);

function partsOf(zone: string, at: number): Readonly<Record<string, number>> {
  const parts = formatOf(zone).formatToParts(at * 1000);
  return Object.fromEntries(parts.map(({ type, value }) => [type, Number(value)] as const));
}
