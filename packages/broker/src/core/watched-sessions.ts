/** Sessions for the watch of GitHub (attest/watch/watched-sessions.ts). */
import type { WatchedSessions } from '../attest/index.ts';
import { without } from './session/known-losses.ts';
import { closeSession, replaceAttestation } from './session/lifecycle.ts';
import type { Live } from './session/live.ts';
import { type TouchContext, touch } from './session/touch.ts';

/** Returns the live sessions of a context for the GitHub watch. */
export function watchedSessions(context: TouchContext): WatchedSessions {
  const { live, losses, clock, mesh, onFailure } = context;
  return {
    live,
    losses,
    clock,
    mesh,
    onFailure,
    close: (one: Live, end) => closeSession(context, one, end),
    touch: (one: Live) => touch(context, one),
    removeFacts: (one: Live, facts) => {
      // Removed directly, because if the clock was set back, the loss may be dated before the opening.
      replaceAttestation(one, without(one.session.attestation, facts));
      return touch(context, one, 'membership_lost');
    },
  };
}
