/** Durations in the access file, which consist of a whole number and a unit. */
import { malformedText, notValid, type Parsed } from '../problem.ts';
import { read } from './text.ts';

const SECONDS = { s: 1, m: 60, h: 3600 } as const;
const DURATION = /^([1-9][0-9]{0,5})([smh])$/;

/**
 * Creates the schema for a duration. Its output is a number of seconds.
 * @param least,most the shortest and the longest duration allowed
 */
export function duration(description: string, least: string, most: string) {
  const parseDuration = (text: string): Parsed<number> => {
    const seconds = toSeconds(text);
    if (seconds === undefined) return notValid(text, 'duration: use a value such as 90s, 10m or 8h');
    if (seconds < toSeconds(least)!) return malformedText(`${text} is too short: the minimum is ${least}`);
    if (seconds > toSeconds(most)!) return malformedText(`${text} is too long: the maximum is ${most}`);
    return { value: seconds };
  };
  return read(parseDuration, {
    description: `${description}, ${least} to ${most}`,
    pattern: '^[1-9][0-9]{0,5}[smh]$',
  });
}

function toSeconds(text: string): number | undefined {
  const match = DURATION.exec(text);
  return match ? Number(match[1]) * SECONDS[match[2] as keyof typeof SECONDS] : undefined;
}
