/** Whether a session has the sign-in that an entry demands beside everything else. */
import type { Attestation, SignIn } from '@meshpass/identity';
import type { SignedIn, Who } from '../model.ts';
import { whyNotClaims, whyNotWhen } from './who.ts';

/**
 * @param at Unix seconds; without it no sign-in counts
 * @returns until when it holds, Unix seconds: infinite where nothing bounds it; or why it does not
 */
export function holdsSignIn(
  { signedIn }: Who,
  attestation: Attestation,
  at: number | undefined,
): { readonly until: number } | { readonly failure: string } {
  if (!signedIn) return { until: Number.POSITIVE_INFINITY };
  const { issuer, maxAge, amr } = signedIn;
  const signIn = at === undefined ? undefined : attestation.signIns?.find((one) => one.issuer === issuer);
  if (!signIn || at === undefined) return { failure: `not signed in at ${issuer}` };
  if (signIn.until <= at) return { failure: `the sign-in at ${issuer} was not confirmed in time` };
  const old = maxAge === undefined ? undefined : whyTooOld(signIn, maxAge, at);
  const lacking = amr?.find((method) => !signIn.amr.includes(method));
  const failure =
    old ??
    (lacking === undefined ? undefined : `the sign-in at ${issuer} was not by ${lacking} (amr)`) ??
    whyNotAsDemanded(signedIn, signIn, attestation);
  if (failure !== undefined) return { failure };
  return { until: maxAge === undefined ? Number.POSITIVE_INFINITY : signIn.authTime! + maxAge };
}

function whyTooOld({ issuer, authTime }: SignIn, maxAge: number, at: number): string | undefined {
  if (authTime === undefined)
    return `the ID token of ${issuer} does not say when the person was authenticated (auth_time)`;
  return authTime + maxAge <= at ? `the sign-in at ${issuer} is older than ${maxAge} seconds` : undefined;
}

function whyNotAsDemanded(demanded: SignedIn, signIn: SignIn, attestation: Attestation): string | undefined {
  const { issuer, subject, login, claims } = signIn;
  const why =
    whyNotClaims(demanded, signIn) ?? whyNotWhen(demanded, { ...attestation, issuer, subject, login, claims });
  return why === undefined ? undefined : `of the sign-in at ${issuer}: ${why}`;
}
