/** How long a certificate is good. */
import { type Finding, wrong } from '../doctor/line.ts';
import { fine } from './context.ts';

const DAY_MS = 86_400_000;

export interface ExpiryAdvice {
  /** A warning, if it has fewer left. */
  readonly days: number;
  readonly seen: string;
  readonly command: string;
  readonly next: string;
}

/** @param until Unix milliseconds */
export function expiry(check: string, what: string, until: number, now: number, advice: ExpiryAdvice): Finding {
  const { days, ...more } = advice;
  const day = new Date(until).toISOString().slice(0, 10);
  const left = Math.floor((until - now) / DAY_MS);
  if (until <= now) return wrong(check, `${what} expired on ${day}.`, more);
  if (until - now < days * DAY_MS)
    return {
      check,
      state: 'warning',
      says: `${what} expires in ${left === 1 ? '1 day' : `${left} days`}, on ${day}.`,
      ...more,
    };
  return fine(check, `${what} is good until ${day}.`, advice.seen);
}
