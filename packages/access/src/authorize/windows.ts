/** Time windows of grants. Times of day are local to a time zone and follow daylight saving time. */
import { memoize } from '@meshpass/identity/memory/memoize';
import type { Window } from '../model.ts';

/** Number of seconds to search ahead. A session lasts at most 12 hours. */
const HORIZON_SECONDS = 24 * 3600;
const DAY_MINUTES = 24 * 60;

/**
 * Returns the time at which the windows close.
 * @param windows alternative windows
 * @param at Unix seconds
 * @returns Unix seconds of the first time after `at` at which every window is closed, at most a day ahead. Undefined if
 *   all are already closed at `at`
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

/** Returns when a window that is open at `at` next closes, or undefined if it is already closed. */
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
  /** Day of the week. 0 is Sunday. */
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
 * Returns the minutes from the start of the current minute until closing time. A window that crosses midnight belongs
 * to the day on which it opens.
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
 * Returns the time that is this many minutes ahead, rounded down to the full minute. If the zone changes its clocks
 * before then, returns the time of the change. The caller then computes again from there.
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

/** Returns the zone's UTC offset in seconds. East is positive. */
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
