/** Time windows of grants. The times of day are local to a time zone and take daylight saving time into account. */
import { memoize } from '@meshpass/identity';
import type { Window } from '../model.ts';

/** How far to search ahead. A session lasts at most 12 hours, so a day is enough. */
const HORIZON_SECONDS = 24 * 3600;
const DAY_MINUTES = 24 * 60;
const DAY_SECONDS = DAY_MINUTES * 60;
const QUARTER_SECONDS = 15 * 60;

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

/**
 * Returns a time until which a window that is open at `at` stays open. Returns undefined if the window is not open. If
 * the time zone changes its clocks before the window closes, the time may be earlier.
 */
function closesAt(window: Window, at: number): number | undefined {
  const { days, from, zone, after, before } = window;
  if ((after !== undefined && at < after) || (before !== undefined && at >= before)) return undefined;
  const ends = [before ?? Number.POSITIVE_INFINITY, at + HORIZON_SECONDS];
  if (days !== undefined || from !== undefined) {
    const left = secondsLeft(window, at + offset(zone, at));
    if (left === undefined) return undefined;
    // Clocks only change at full quarters of an hour.
    const isSteady = offset(zone, at + left) === offset(zone, at);
    ends.push(isSteady ? at + left : (Math.floor(at / QUARTER_SECONDS) + 1) * QUARTER_SECONDS);
  }
  return Math.min(...ends);
}

/**
 * Returns the number of seconds until the times of day of a window end. A window that crosses midnight belongs to the
 * day when it opens.
 * @param local the local time, in seconds since the start of 1970, which was a Thursday
 */
function secondsLeft({ days, from = 0, to = DAY_MINUTES }: Window, local: number): number | undefined {
  const day = (Math.floor(local / DAY_SECONDS) + 4) % 7;
  const [time, opens, closes] = [local % DAY_SECONDS, from * 60, to * 60];
  const opensOn = (one: number) => days === undefined || days.includes(one);
  const overnight = closes <= opens;
  if (opensOn(day) && time >= opens && (overnight || time < closes))
    return (overnight ? closes + DAY_SECONDS : closes) - time;
  return overnight && opensOn((day + 6) % 7) && time < closes ? closes - time : undefined;
}

/** Returns the UTC offset of a time zone in seconds. It is positive east of Greenwich. */
function offset(zone: string, at: number): number {
  const parts = partsOf(zone, at);
  return Date.UTC(parts.year!, parts.month! - 1, parts.day!, parts.hour!, parts.minute!, parts.second!) / 1000 - at;
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
