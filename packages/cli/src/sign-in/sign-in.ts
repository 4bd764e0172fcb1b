/** Sign-ins for the workspace's session. The running agent performs them and keeps the tokens in memory. */
import { askAgent, runtimeDirectory } from '@meshpass/agent/control/control';
import type { AgentStatus } from '@meshpass/agent/control/status';
import type { LackingSignIn } from '@meshpass/agent/sign-in/commands';
import type { SignInPrompt } from '@meshpass/agent/sign-in/device-flow';
import type { SignInStatus } from '@meshpass/agent/sign-in/sign-ins';

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Signs in, and returns when the person has completed the sign-in.
 * @param issuer name in the access file; by default, the issuer that the session's grants require
 * @throws MeshpassError `agent_not_running`, `usage`, `sign_in_unknown`, `agent_sign_in_refused`,
 *   `agent_sign_in_failed`, and the broker's codes
 */
export async function signIn(
  env: Environment,
  issuer: string | undefined,
  onPrompt: (prompt: SignInPrompt) => void,
): Promise<AgentStatus> {
  const directory = runtimeDirectory(env);
  const prompt = await askAgent<SignInPrompt>(directory, { command: 'sign-in', ...(issuer && { issuer }) });
  onPrompt(prompt);
  for (;;) {
    const { done } = await askAgent<{ done: boolean }>(directory, { command: 'sign-in-result', issuer: prompt.issuer });
    if (done) return await askAgent<AgentStatus>(directory, { command: 'status' });
  }
}

/**
 * Signs out at all issuers.
 * @returns names of the issuers at which the workspace was signed in
 * @throws MeshpassError `agent_not_running`
 */
export async function signOut(env: Environment): Promise<readonly string[]> {
  const { signedOut } = await askAgent<{ signedOut: readonly string[] }>(runtimeDirectory(env), {
    command: 'sign-out',
  });
  return signedOut;
}

/**
 * Returns grants that lack only a sign-in. Empty if the agent or the broker does not answer, or does not support
 * sign-ins yet.
 */
export async function lackingSignIns(env: Environment): Promise<readonly LackingSignIn[]> {
  const asked = askAgent<{ lacking: readonly LackingSignIn[] }>(runtimeDirectory(env), { command: 'sign-in-lacking' });
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
  console.error(`To sign in at ${issuer}, open ${verificationUri} in any browser and enter the code ${userCode}.`);
  if (verificationUriComplete !== undefined) console.error(`Or open ${verificationUriComplete} and compare the code.`);
  console.error('Enter the code only if you started this sign-in yourself.');
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
