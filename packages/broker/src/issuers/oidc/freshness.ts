/** Age of sign-in ID tokens, for workspaces and operators alike. All times are Unix seconds. */
import type { SignInClient } from '@meshpass/access';

/** Maximum age of an ID token, seconds. The client presents it right after the issuer issues it. */
const FRESH_SECONDS = 60;
/** Tolerated difference between the issuer's clock and ours when confirming a sign-in, seconds. */
export const MAX_CLOCK_SKEW_SECONDS = 15;

/** Returns when the issuer issued an ID token, corrected for issuers that backdate `iat`. */
export function correctedIssuedAt(iat: number, { backdated = 0 }: SignInClient): number {
  return iat + backdated;
}

/** Whether an ID token is young enough to sign in with. */
export function isFresh(given: number, now: number): boolean {
  return given >= now - FRESH_SECONDS;
}

/** Returns when an ID token's confirmation begins: when the token was issued, even if it is presented later. */
export function confirmationStart(given: number, now: number): number {
  return Math.min(now, given + MAX_CLOCK_SKEW_SECONDS);
}
