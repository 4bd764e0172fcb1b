/** Checks the age of sign-in ID tokens, for both workspaces and operators. All times are Unix seconds. */
import type { SignInClient } from '@meshpass/access';

/** Maximum age of an ID token, seconds. Clients present a token immediately after it was issued. */
const FRESH_SECONDS = 60;
/** Tolerated difference between the issuer's clock and ours when confirming a sign-in, seconds. */
export const MAX_CLOCK_SKEW_SECONDS = 15;

/** Returns when an ID token was issued. Corrects the time for issuers that backdate `iat`. */
export function correctedIssuedAt(iat: number, { backdated = 0 }: SignInClient): number {
  return iat + backdated;
}

/** Whether an ID token is recent enough to sign in with. */
export function isFresh(given: number, now: number): boolean {
  return given >= now - FRESH_SECONDS;
}

/** Returns the start of the period that an ID token confirms: when it was issued, even if it is presented later. */
export function confirmationStart(given: number, now: number): number {
  return Math.min(now, given + MAX_CLOCK_SKEW_SECONDS);
}
