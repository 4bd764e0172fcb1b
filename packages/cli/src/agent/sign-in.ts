/** Sign-ins for the workspace's session. The running agent performs them and keeps the tokens in memory. */
import type { LackingSignIn } from '@meshpass/agent/sign-in/commands';
import type { SignInPrompt } from '@meshpass/agent/sign-in/device-flow';
import type { SignInStatus } from '@meshpass/agent/sign-in/sign-ins';
import { warnLines } from '../command/answer.ts';
import { askOwnAgent } from './ask.ts';

/**
 * Returns grants that lack only a sign-in. Empty if the agent or the broker does not answer, or does not support
 * sign-ins yet.
 */
export async function lackingSignIns(): Promise<readonly LackingSignIn[]> {
  const asked = askOwnAgent<{ lacking: readonly LackingSignIn[] }>({ command: 'sign-in-lacking' });
  return (await asked.catch(() => undefined))?.lacking ?? [];
}

/** Formats missing sign-ins for `explain`. */
export function lackingText(lacking: readonly LackingSignIn[]): readonly string[] {
  const lines = lacking.map(
    ({ grant, issuer }) => `  ${grant} requires a sign-in at ${issuer}: meshpass sign-in --issuer ${issuer}`,
  );
  return lines.length === 0 ? [] : ['Grants you would have with a sign-in:', ...lines];
}

/** Prints instructions to standard error, because standard output contains only the result. */
export function printPrompt({ issuer, verificationUri, verificationUriComplete, userCode }: SignInPrompt): void {
  warnLines(`To sign in at ${issuer}, open ${verificationUri} in any browser and enter the code ${userCode}.`);
  if (verificationUriComplete !== undefined) warnLines(`Or open ${verificationUriComplete} and compare the code.`);
  warnLines('Enter the code only if you started this sign-in yourself.');
}

/**
 * Formats a sign-in as `Signed in at okta as alice (okta:00u1) since 09:00:00, until 09:01:00 unless confirmed again`.
 */
export function signInLine({ issuer, login, subject, since, until, failure }: SignInStatus): string {
  const not = failure === undefined ? '' : `; not confirmed: ${failure}`;
  return `Signed in at ${issuer} as ${login} (${subject}) since ${clock(since)}, until ${clock(until)} unless confirmed again${not}`;
}

/**
 * Formats a time of day, UTC.
 * @param at Unix milliseconds
 */
function clock(at: number): string {
  return new Date(at).toISOString().slice(11, 19);
}
