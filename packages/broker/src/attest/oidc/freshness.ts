/** How old an ID token of a sign-in is, and from when on its word counts: for workspaces and operators alike. All in Unix seconds. */
import type { SignInClient } from '@meshpass/access';

/** An ID token must be as young as this, seconds: it is presented as soon as the issuer has given it. */
const FRESH_SECONDS = 60;
/** Of the issuer's clock and ours, for the time that its word counts, seconds. */
export const CLOCK_SECONDS = 15;

/** When the issuer gave an ID token, which some date back. */
export function givenAt(iat: number, { backdated = 0 }: SignInClient): number {
  return iat + backdated;
}

export function isFresh(given: number, now: number): boolean {
  return given >= now - FRESH_SECONDS;
}

/** From when on the word of an ID token counts: from when it was given, also where it is shown later. */
export function countsFrom(given: number, now: number): number {
  return Math.min(now, given + CLOCK_SECONDS);
}
