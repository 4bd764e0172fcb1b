/** Checks how old the ID token of a sign-in is, for both workspaces and operators. All times are in Unix seconds. */
import type { SignInClient } from '@meshpass/access';

/**
 * The maximum age of an ID token, in seconds. Clients are expected to present a token immediately after it is issued.
 */
const FRESH_SECONDS = 60;
/** The tolerated difference between the issuer's clock and ours when a sign-in is confirmed, in seconds. */
export const MAX_CLOCK_SKEW_SECONDS = 15;

/** Returns the time at which an ID token was issued, correcting for issuers that backdate `iat`. */
export function correctedIssuedAt(iat: number, { backdated = 0 }: SignInClient): number {
  return iat + backdated;
}

/** Whether an ID token is recent enough to be used for a sign-in. */
export function isFresh(given: number, now: number): boolean {
  return given >= now - FRESH_SECONDS;
}

/**
 * Returns the time from which an ID token confirms a sign-in. This is when the token was issued, even if it is
 * presented later.
 */
export function confirmationStart(given: number, now: number): number {
  return Math.min(now, given + MAX_CLOCK_SKEW_SECONDS);
}
