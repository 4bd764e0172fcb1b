/** Schedules credential renewals and pauses after failures. */
import type { Credentials } from './enrol.ts';
import { halfLife } from './expiry.ts';

/** Maximum pause between two renewal attempts, as a fraction of the credential's remaining lifetime. */
const SHARE_OF_REST = 0.25;
const LONGEST_PAUSE = 30_000;

/**
 * Returns the milliseconds until the first certificate reaches half of its lifetime, or undefined without certificates.
 */
export function svidsDue({ svids }: Credentials, now: number): number | undefined {
  const first = Math.min(...[...svids.values()].map((svid) => svid.issuedAt + halfLife(svid)));
  return Number.isFinite(first) ? first - now : undefined;
}

/** Returns the milliseconds until the identity token reaches half of its lifetime. */
export function tokenDue({ identityToken }: Credentials, now: number): number {
  return identityToken.issuedAt + halfLife(identityToken) - now;
}

/**
 * Whether a task that could not reach the broker waits for a lease renewal. Opening a session does not wait, because
 * the lease needs a session.
 */
export function waitsForLease(task: string): boolean {
  return task !== 'heartbeat' && task !== 'session';
}

/**
 * Returns the maximum pause after a failure in ms.
 * @param credentials undefined before the first enrolment
 */
export function longestPause(task: string, credentials: Credentials | undefined, now: number): number {
  if (!credentials) return LONGEST_PAUSE;
  const { session, svids, identityToken } = credentials;
  // A broker that comes back extends leases only for about two heartbeat periods. A longer pause would lose the
  // session.
  if (task === 'heartbeat') return Math.min(session.heartbeat_seconds * 1000, LONGEST_PAUSE);
  if (task !== 'svids' && task !== 'token') return LONGEST_PAUSE;
  const ends = task === 'token' ? [identityToken.expiresAt] : [...svids.values()].map(({ expiresAt }) => expiresAt);
  const left = Math.min(...ends) - now;
  // An intermittent broker must be reached before the credential expires. After that there is no hurry, because every
  // workspace is in the same position.
  return left > 0 ? Math.min(SHARE_OF_REST * left, LONGEST_PAUSE) : LONGEST_PAUSE;
}
