import { describe, expect, it } from 'vitest';
import { openUntil } from '../src/authorize/windows.ts';
import { parseAccess } from '../src/index.ts';
import { fileWith } from './shop.ts';

const windows = (text: string) => parseAccess(fileWith({ more: `during: ${text}` }), 'f').grants[0]!.during!;
const at = (instant: string) => Date.parse(instant) / 1000;
/** End of the open window, as an instant; `closed` if it is closed. */
const until = (text: string, instant: string): string => {
  const end = openUntil(windows(text), at(instant));
  return end === undefined ? 'closed' : new Date(end * 1000).toISOString().replace('.000', '');
};

describe('a window', () => {
  const HOURS = '[{days: [mon, tue, wed, thu, fri], from: "08:00", to: "18:30", zone: Europe/Berlin}]';
  it.each([
    // 2026-11-24 is a Tuesday; Berlin is an hour ahead of UTC in winter, two in summer.
    ['opens to the second', HOURS, '2026-11-24T06:59:59Z', 'closed'],
    ['is open from then on', HOURS, '2026-11-24T07:00:00Z', '2026-11-24T17:30:00Z'],
    ['tells its end from any second', HOURS, '2026-11-24T12:34:56Z', '2026-11-24T17:30:00Z'],
    ['is open in its last second', HOURS, '2026-11-24T17:29:59Z', '2026-11-24T17:30:00Z'],
    ['closes to the second', HOURS, '2026-11-24T17:30:00Z', 'closed'],
    ['is closed on other days', HOURS, '2026-11-28T12:00:00Z', 'closed'],
    ['follows daylight saving', HOURS, '2026-07-01T06:00:00Z', '2026-07-01T16:30:00Z'],
    ['crosses midnight', '[{days: [tue], from: "22:00", to: "06:00"}]', '2026-11-24T23:00:00Z', '2026-11-25T06:00:00Z'],
    [
      'of the day it began on',
      '[{days: [tue], from: "22:00", to: "06:00"}]',
      '2026-11-25T05:59:59Z',
      '2026-11-25T06:00:00Z',
    ],
    ['and not of the day it ends on', '[{days: [wed], from: "22:00", to: "06:00"}]', '2026-11-25T05:00:00Z', 'closed'],
    ['is a whole day', '[{days: [tue]}]', '2026-11-24T12:00:00Z', '2026-11-25T00:00:00Z'],
    ['is whole days in a row', '[{days: [tue, wed]}]', '2026-11-24T23:00:00Z', '2026-11-25T23:00:00Z'],
    [
      'continues if another begins',
      '[{from: "08:00", to: "12:00"}, {from: "12:00", to: "13:00"}]',
      '2026-11-24T11:00:00Z',
      '2026-11-24T13:00:00Z',
    ],
    [
      'continues if another overlaps',
      '[{from: "08:00", to: "12:00"}, {from: "11:30", to: "13:00"}]',
      '2026-11-24T08:00:00Z',
      '2026-11-24T13:00:00Z',
    ],
    [
      'stops at a gap of a minute',
      '[{from: "08:00", to: "12:00"}, {from: "12:01", to: "13:00"}]',
      '2026-11-24T11:00:00Z',
      '2026-11-24T12:00:00Z',
    ],
    [
      'is bounded by instants',
      '[{after: 2026-11-24T08:00:00Z, before: 2026-11-24T09:00:15+01:00}, {after: 2026-11-24T08:00:05Z, before: 2026-11-24T08:00:20Z}]',
      '2026-11-24T08:00:07Z',
      '2026-11-24T08:00:20Z',
    ],
    ['is closed before its instant', '[{after: 2026-11-24T08:00:00Z}]', '2026-11-24T07:59:59Z', 'closed'],
    ['is told a day ahead at most', '[{after: 2026-11-24T08:00:00Z}]', '2026-12-24T08:00:00Z', '2026-12-25T08:00:00Z'],
    ['needs all of its members', '[{days: [tue], after: 2026-11-25T00:00:00Z}]', '2026-11-24T08:00:00Z', 'closed'],
    [
      'ends with the first of its members',
      '[{days: [tue], before: 2026-11-24T10:00:00Z}]',
      '2026-11-24T08:00:00Z',
      '2026-11-24T10:00:00Z',
    ],
    // 2026-03-29 01:00Z: clocks in Berlin jump from 02:00 to 03:00; 2026-10-25 01:00Z: from 03:00 to 02:00.
    [
      'is shorter where clocks jump ahead',
      '[{from: "01:00", to: "04:00", zone: Europe/Berlin}]',
      '2026-03-29T00:30:00Z',
      '2026-03-29T02:00:00Z',
    ],
    [
      'ends at the jump where its end is jumped over',
      '[{from: "01:00", to: "02:30", zone: Europe/Berlin}]',
      '2026-03-29T00:30:10Z',
      '2026-03-29T01:00:00Z',
    ],
    [
      'is longer where clocks go back',
      '[{from: "01:00", to: "04:00", zone: Europe/Berlin}]',
      '2026-10-24T23:30:00Z',
      '2026-10-25T03:00:00Z',
    ],
    [
      'closes where clocks go back to before it opens',
      '[{from: "02:30", to: "04:00", zone: Europe/Berlin}]',
      '2026-10-25T00:40:00Z',
      '2026-10-25T01:00:00Z',
    ],
    [
      'opens again in the hour that clocks repeat',
      '[{from: "02:30", to: "04:00", zone: Europe/Berlin}]',
      '2026-10-25T01:30:00Z',
      '2026-10-25T03:00:00Z',
    ],
    [
      'is a day of 25 hours where clocks go back at midnight',
      '[{days: [sat], zone: America/Asuncion}]',
      '2020-03-22T02:30:00Z',
      '2020-03-22T04:00:00Z',
    ],
  ])('%s', (_, text, instant, end) => {
    expect(until(text, instant)).toBe(end);
  });

  // The hour from 01:00 to 02:00 comes twice in November, and that from 02:00 to 03:00 never in March.
  it.each([
    ['22:15', '02:45'],
    ['01:30', '04:00'],
    ['22:15', '01:20'],
    ['01:10', '01:50'],
    ['02:10', '02:50'],
  ])(
    'from %s to %s agrees with the clocks of its zone at every minute of two days with a change of clocks',
    (from, to) => {
      const [window] = windows(`[{days: [sat, sun], from: "${from}", to: "${to}", zone: America/New_York}]`);
      const clock = new Intl.DateTimeFormat('en-GB', {
        timeZone: 'America/New_York',
        weekday: 'short',
        hour: '2-digit',
        minute: '2-digit',
        hourCycle: 'h23',
      });
      const isOpen = (seconds: number) => {
        const parts = Object.fromEntries(clock.formatToParts(seconds * 1000).map(({ type, value }) => [type, value]));
        const time = `${parts.hour}:${parts.minute}`;
        const opensOn = ['Sat', 'Sun'].includes(parts.weekday!);
        if (from < to) return opensOn && time >= from && time < to;
        return (opensOn && time >= from) || (['Sun', 'Mon'].includes(parts.weekday!) && time < to);
      };
      for (const day of ['2026-03-07T12:00:00Z', '2026-10-31T12:00:00Z']) {
        const open = Array.from({ length: 2 * 1440 + 1440 }, (_, minute) => isOpen(at(day) + minute * 60));
        for (let minute = 0; minute < 2 * 1440; minute += 7) {
          const now = at(day) + minute * 60 + 13;
          const closes = open.indexOf(false, minute);
          const expected = open[minute] && closes >= 0 ? at(day) + closes * 60 : undefined;
          expect([new Date(now * 1000).toISOString(), openUntil([window!], now)]).toEqual([
            new Date(now * 1000).toISOString(),
            expected,
          ]);
        }
      }
    },
  );
});
