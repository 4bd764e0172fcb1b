/** Durations in the access file, which consist of a whole number and a unit. */
import { malformedText, notValid, type Parsed } from '../problem.ts';
import { read } from './text.ts';

const SECONDS = { s: 1, m: 60, h: 3600 } as const;
const DURATION = /^([1-9][0-9]{0,5})([smh])$/;

/** The shortest and longest duration allowed, as text so that error messages can quote them. */
interface DurationBounds {
  readonly least: string;
  readonly most: string;
}

/** Creates the schema for a duration. Its output is a number of seconds. */
export function duration(description: string, bounds: DurationBounds) {
  const pattern = '^[1-9][0-9]{0,5}[smh]$';
  return read((input) => parseDuration(input, bounds), { description, pattern });
}

/** Parses durations such as `90s`, `10m` or `8h`, and returns the number of seconds. */
function parseDuration(text: string, bounds: DurationBounds): Parsed<number> {
  const seconds = toSeconds(text);
  if (seconds === undefined) return notValid(text, 'duration: use a value such as 90s, 10m or 8h');
  if (seconds < toSeconds(bounds.least)!) return malformedText(`${text} is too short: the minimum is ${bounds.least}`);
  if (seconds > toSeconds(bounds.most)!) return malformedText(`${text} is too long: the maximum is ${bounds.most}`);
  return { value: seconds };
}

function toSeconds(text: string): number | undefined {
  const match = DURATION.exec(text);
  return match ? Number(match[1]) * SECONDS[match[2] as keyof typeof SECONDS] : undefined;
}
