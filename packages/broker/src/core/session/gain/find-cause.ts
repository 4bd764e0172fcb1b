/** Infers why a session gains a grant if the broker only became active after the cause occurred. */

import type { Grant } from '@meshpass/access';
import { openUntil } from '@meshpass/access';
import type { GainCause } from '../session.ts';

/**
 * Returns `window_opened` if the grant's window was closed at any time since the session opened, because otherwise the
 * session would have had the grant from the start. In all other cases the current access file grants more than the one
 * that was in force at the opening.
 * @param grant current definition
 * @param openedAt opening time of the session, Unix seconds
 * @param now Unix seconds
 */
export function findCause({ during }: Pick<Grant, 'during'>, openedAt: number, now: number): GainCause {
  if (!during) return 'access_widened';
  const closed = openUntil(during, openedAt);
  return closed === undefined || closed <= now ? 'window_opened' : 'access_widened';
}
