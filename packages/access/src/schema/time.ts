/** The schema for a grant's time windows. */
import { z } from 'zod';
import { notValid, type Parsed } from '../problem.ts';
import { read, report } from './text.ts';

const DAYS = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'] as const;

const timeOfDay = read(parseTimeOfDay, {
  description: 'Time of day, 00:00 to 24:00, in quotes',
  pattern: '^([01][0-9]|2[0-3]):[0-5][0-9]$|^24:00$',
});
const instant = read(parseInstant, {
  description: 'RFC 3339 with its offset',
  pattern: '^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(Z|[+-][0-9]{2}:[0-9]{2})$',
  examples: ['2026-12-31T18:00:00Z'],
});

export const timeWindow = z
  .strictObject({
    days: z
      .array(z.enum(DAYS, `days are ${DAYS.join(', ')}`))
      .min(1, 'must not be empty')
      .transform((days) => days.map((day) => DAYS.indexOf(day)))
      .optional(),
    from: timeOfDay.optional(),
    to: timeOfDay.optional(),
    zone: read(parseZone, { description: 'IANA time zone', examples: ['Europe/Berlin'] }).prefault('UTC'),
    after: instant.optional(),
    before: instant.optional(),
  })
  .superRefine((entry, context) => {
    const say = (message: string, ...path: string[]) => report(context, message, { path });
    const { days, from, to, after, before } = entry;
    if ((from === undefined) !== (to === undefined)) say('set both from and to, or neither');
    if (from !== undefined && from === to)
      say('must differ from "from", or the window opens and closes at the same time', 'to');
    if (from === 1440) say('a window cannot start at 24:00: use 00:00', 'from');
    if (after !== undefined && before !== undefined && after >= before) say('must be later than "after"', 'before');
    if ([days, from, after, before].every((member) => member === undefined))
      say('an empty entry is always open: set days, from and to, after or before');
  })
  .meta({ minProperties: 1, dependentRequired: { from: ['to'], to: ['from'] } });

function parseTimeOfDay(input: string): Parsed<number> {
  const match = /^(?:([01]\d|2[0-3]):([0-5]\d)|24:00)$/.exec(input);
  if (!match) return notValid(input, 'time of day: use "09:00", "17:30" or "24:00"');
  return { value: match[1] === undefined ? 1440 : Number(match[1]) * 60 + Number(match[2]) };
}

/** Parses an RFC 3339 timestamp (section 5.6) without fractional seconds. */
function parseInstant(input: string): Parsed<number> {
  const form = /^\d{4}-\d{2}-(\d{2})T\d{2}:\d{2}:\d{2}(?:Z|[+-]\d{2}:\d{2})$/.exec(input);
  const at = form ? Date.parse(input) : Number.NaN;
  // Date.parse accepts dates such as February 31 and returns a day in March.
  const local = Date.parse(`${input.slice(0, 19)}Z`);
  if (Number.isNaN(at) || new Date(local).getUTCDate() !== Number(form?.[1]))
    return notValid(input, 'timestamp: use a value such as 2026-12-31T18:00:00Z');
  return { value: at / 1000 };
}

function parseZone(input: string): Parsed<string> {
  try {
    return { value: new Intl.DateTimeFormat('en-US', { timeZone: input }).resolvedOptions().timeZone };
  } catch {
    return notValid(input, 'time zone: use a name such as Europe/Berlin, or UTC');
  }
}
