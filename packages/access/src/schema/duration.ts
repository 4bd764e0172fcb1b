/** Durations as the access file writes them: a whole number and one unit. */
import { invalid, type Parsed } from '../problem.ts';

const SECONDS = { s: 1, m: 60, h: 3600 } as const;
const DURATION = /^([1-9][0-9]{0,5})([smh])$/;

/** Bounds in seconds, with the words that a person reads. */
export interface DurationBounds {
  readonly least: string;
  readonly most: string;
}

/**
 * Reads `90s`, `10m` or `8h`.
 * @returns seconds
 */
export function parseDuration(text: string, bounds: DurationBounds): Parsed<number> {
  const seconds = toSeconds(text);
  if (seconds === undefined) return invalid(`${JSON.stringify(text)} is no duration: write 90s, 10m or 8h`);
  if (seconds < toSeconds(bounds.least)!) return invalid(`${text} is too short: at least ${bounds.least}`);
  if (seconds > toSeconds(bounds.most)!) return invalid(`${text} is too long: at most ${bounds.most}`);
  return { value: seconds };
}

function toSeconds(text: string): number | undefined {
  const match = DURATION.exec(text);
  return match ? Number(match[1]) * SECONDS[match[2] as keyof typeof SECONDS] : undefined;
}
