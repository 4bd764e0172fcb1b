/** Sign-ins that entries require in addition to their other fields. */
import type { Attestation, SignIn } from '@meshpass/identity';
import type { SignedIn, Trust, Who } from '../model.ts';
import { isSignInTrusted } from './trusted.ts';
import { whyNotClaims, whyNotWhen } from './who.ts';

/**
 * Checks whether a session has the required sign-in.
 * @param at Unix seconds; without it, no sign-in counts
 * @returns until when it counts, Unix seconds (infinite if unlimited), or why it does not count
 */
export function holdsSignIn(
  { signedIn }: Who,
  attestation: Attestation,
  trust: Trust,
  at: number | undefined,
): { readonly until: number } | { readonly failure: string } {
  if (!signedIn) return { until: Number.POSITIVE_INFINITY };
  const { issuer, maxAge, amr } = signedIn;
  const signIn = at === undefined ? undefined : attestation.signIns?.find((one) => one.issuer === issuer);
  if (!signIn || at === undefined) return { failure: `not signed in at ${issuer}` };
  if (!isSignInTrusted(signIn, trust))
    return { failure: `the sign-in belongs to a different issuer or client than ${issuer} in the access file` };
  if (signIn.until <= at) return { failure: `the sign-in at ${issuer} was not confirmed in time` };
  const old = maxAge === undefined ? undefined : whyTooOld(signIn, maxAge, at);
  const lacking = amr?.find((method) => !signIn.amr.includes(method));
  const failure =
    old ??
    (lacking === undefined ? undefined : `the sign-in at ${issuer} did not use ${lacking} (amr)`) ??
    whyNotAsDemanded(signedIn, signIn, attestation);
  if (failure !== undefined) return { failure };
  return { until: maxAge === undefined ? Number.POSITIVE_INFINITY : signIn.authTime! + maxAge };
}

function whyTooOld({ issuer, authTime }: SignIn, maxAge: number, at: number): string | undefined {
  if (authTime === undefined) return `the ID token from ${issuer} is missing the authentication time (auth_time)`;
  return authTime + maxAge <= at ? `the sign-in at ${issuer} is older than ${maxAge} seconds` : undefined;
}

function whyNotAsDemanded(demanded: SignedIn, signIn: SignIn, attestation: Attestation): string | undefined {
  const why = whyNotClaims(demanded, signIn) ?? whyNotWhen(demanded, asSignedIn(attestation, signIn));
  return why === undefined ? undefined : `sign-in at ${signIn.issuer}: ${why}`;
}

/**
 * Returns the session with the identity from a sign-in. Drops the GitHub user, because the issuer does not attest it.
 */
export function asSignedIn({ githubUser: _, ...attestation }: Attestation, signIn: SignIn): Attestation {
  const { issuer, subject, login, claims } = signIn;
  return { ...attestation, issuer, subject, login, claims };
}
