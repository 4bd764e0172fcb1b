/** Why a session gains a grant, where a broker has just become active and nobody was looking when it happened. */

import type { Grant } from '@meshpass/access';
import { openUntil } from '@meshpass/access';
import type { GainCause } from '../session.ts';

/**
 * A window is the cause where it was not open all the time since the session opened: with the window open, the session would have had
 * the grant from the start. Otherwise the file that is in force now gives more than the one by which the session opened.
 * @param grant as it is now
 * @param openedAt when the session opened, Unix seconds
 * @param now Unix seconds
 */
export function findCause({ during }: Pick<Grant, 'during'>, openedAt: number, now: number): GainCause {
  if (!during) return 'access_widened';
  const closed = openUntil(during, openedAt);
  return closed === undefined || closed <= now ? 'window_opened' : 'access_widened';
}
