/** When credentials are to be renewed, and how long to pause after a failure. */
import type { Credentials } from './enrol.ts';
import { halfLife } from './expiry.ts';

/** Of what is left of a credential, at most this share is waited before it is asked for again. */
const SHARE_OF_REST = 0.25;
const LONGEST_PAUSE = 30_000;

/** Milliseconds until half of the life of the first certificate is over; undefined where there is none. */
export function svidsDue({ svids }: Credentials, now: number): number | undefined {
  const first = Math.min(...[...svids.values()].map((svid) => svid.issuedAt + halfLife(svid)));
  return Number.isFinite(first) ? first - now : undefined;
}

/** Milliseconds until half of the life of the identity token is over. */
export function tokenDue({ identityToken }: Credentials, now: number): number {
  return identityToken.issuedAt + halfLife(identityToken) - now;
}

/** Whether a task that finds no broker waits until the lease is renewed. Without a session, nobody renews it. */
export function waitsForLease(task: string): boolean {
  return task !== 'heartbeat' && task !== 'session';
}

/**
 * Longest pause after a failure, ms.
 * @param credentials undefined before the first
 */
export function longestPause(task: string, credentials: Credentials | undefined, now: number): number {
  if (!credentials) return LONGEST_PAUSE;
  const { session, svids, identityToken } = credentials;
  // A broker that comes back gives a lease no longer than it takes to beat twice: to pause for longer would lose the session.
  if (task === 'heartbeat') return Math.min(session.heartbeat_seconds * 1000, LONGEST_PAUSE);
  if (task !== 'svids' && task !== 'token') return LONGEST_PAUSE;
  const ends = task === 'token' ? [identityToken.expiresAt] : [...svids.values()].map(({ expiresAt }) => expiresAt);
  const left = Math.min(...ends) - now;
  // A broker that comes and goes must be met before it is over. What has expired is past that, here and in every other workspace.
  return left > 0 ? Math.min(SHARE_OF_REST * left, LONGEST_PAUSE) : LONGEST_PAUSE;
}
