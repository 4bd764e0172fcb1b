/** Checks how long certificates remain valid. */
import { type Finding, misconfigurationFinding, ok, warningFinding } from '../diagnosis/finding.ts';

const DAY_MS = 86_400_000;

export interface ExpiryAdvice {
  /** The check warns if fewer than this many days remain. */
  readonly days: number;
  readonly seen: string;
  readonly command: string;
  readonly next: string;
}

/**
 * Checks how soon something expires.
 * @param until the expiry time in Unix milliseconds
 * @param now the current time in Unix milliseconds
 */
export function checkExpiry(check: string, what: string, until: number, now: number, advice: ExpiryAdvice): Finding {
  const { days, ...more } = advice;
  const day = new Date(until).toISOString().slice(0, 10);
  const left = Math.floor((until - now) / DAY_MS);
  if (until <= now) return misconfigurationFinding(check, `${what} expired on ${day}.`, more);
  if (until - now < days * DAY_MS)
    return warningFinding(check, `${what} expires in ${left === 1 ? '1 day' : `${left} days`}, on ${day}.`, more);
  return ok(check, `${what} is valid until ${day}.`, advice.seen);
}
