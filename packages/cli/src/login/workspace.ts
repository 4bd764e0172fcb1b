/** Sign-ins of the workspace's session: the running agent does it, and keeps what it is given in memory. */
import { askAgent, isAgentRunning, runtimeDirectory } from '@meshpass/agent/control/control';
import type { AgentStatus } from '@meshpass/agent/control/status';
import type { LackingSignIn } from '@meshpass/agent/sign-in/commands';
import type { SignInPrompt } from '@meshpass/agent/sign-in/device-flow';
import type { SignInStatus } from '@meshpass/agent/sign-in/sign-ins';

type Environment = Readonly<Record<string, string | undefined>>;

/** Whether a command is about the workspace's session: an agent runs here, and no operator listener is named. */
export async function isOfWorkspace(
  env: Environment,
  { operator, broker }: { readonly operator?: string | undefined; readonly broker?: string | undefined },
): Promise<boolean> {
  if (operator !== undefined || (broker !== undefined && broker !== env.MESHPASS_BROKER)) return false;
  return await isAgentRunning(runtimeDirectory(env));
}

/** Signs in, and prints the sign-ins. @throws MeshpassError as signInWorkspace() */
export async function loginWorkspace(env: Environment, issuer: string | undefined, output: string): Promise<void> {
  const { signIns, session } = await signInWorkspace(env, issuer, printPrompt);
  if (output === 'json') console.log(JSON.stringify({ sign_ins: signIns, grants: session.grants }));
  else console.log(signIns.map(signInLine).join('\n'));
}

/** Signs out everywhere, and says where. @throws MeshpassError agent_not_running */
export async function logoutWorkspace(env: Environment, output: string): Promise<void> {
  const out = await signOutWorkspace(env, undefined);
  if (output === 'json') console.log(JSON.stringify({ signed_out: out }));
  else console.log(out.length > 0 ? `Signed out at ${out.join(', ')}.` : 'Nobody was signed in.');
}

/** Prints whose session it is, and its sign-ins. @throws MeshpassError agent_not_running */
export async function whoamiWorkspace(env: Environment, output: string): Promise<void> {
  const { session, signIns } = await workspaceStatus(env);
  const { subject, login, workspace, grants } = session;
  if (output === 'json') console.log(JSON.stringify({ subject, login, workspace, grants, sign_ins: signIns }));
  else
    console.log([`${login} (${subject}) in ${workspace}: ${grants.join(', ')}`, ...signIns.map(signInLine)].join('\n'));
}

/**
 * Signs in, and returns when the person has.
 * @param issuer name in the access file; absent: the one that the session's grants lack
 * @throws MeshpassError agent_not_running, usage, sign_in_unknown, agent_sign_in_refused, agent_sign_in_failed, of the broker
 */
export async function signInWorkspace(
  env: Environment,
  issuer: string | undefined,
  onPrompt: (prompt: SignInPrompt) => void,
): Promise<AgentStatus> {
  const directory = runtimeDirectory(env);
  const prompt = await askAgent<SignInPrompt>(directory, { command: 'sign-in', ...(issuer && { issuer }) });
  onPrompt(prompt);
  for (;;) {
    const { done } = await askAgent<{ done: boolean }>(directory, { command: 'sign-in-result', issuer: prompt.issuer });
    if (done) return await workspaceStatus(env);
  }
}

/** @returns names of the issuers at which the workspace was signed in. @throws MeshpassError agent_not_running */
export async function signOutWorkspace(env: Environment, issuer: string | undefined): Promise<readonly string[]> {
  const order = { command: 'sign-out', ...(issuer && { issuer }) } as const;
  return (await askAgent<{ signedOut: readonly string[] }>(runtimeDirectory(env), order)).signedOut;
}

/** Grants that lack nothing but a sign-in; none where the agent or the broker is of a version without sign-ins, or does not answer. */
export async function lackingSignIns(env: Environment): Promise<readonly LackingSignIn[]> {
  const asked = askAgent<{ lacking: readonly LackingSignIn[] }>(runtimeDirectory(env), { command: 'sign-in-lacking' });
  return (await asked.catch(() => undefined))?.lacking ?? [];
}

/** What `explain` says of them. */
export function lackingText(lacking: readonly LackingSignIn[]): readonly string[] {
  const lines = lacking.map(
    ({ grant, issuer }) => `  ${grant} lacks a sign-in at ${issuer}: meshpass login --issuer ${issuer}`,
  );
  return lines.length === 0 ? [] : ['Grants that you would have with a sign-in:', ...lines];
}

/** @throws MeshpassError agent_not_running */
export function workspaceStatus(env: Environment): Promise<AgentStatus> {
  return askAgent<AgentStatus>(runtimeDirectory(env), { command: 'status' });
}

/** What a person is to do, on standard error: the result alone is output. */
export function printPrompt({ issuer, verificationUri, verificationUriComplete, userCode }: SignInPrompt): void {
  console.error(`To sign in at ${issuer}, open ${verificationUri} in any browser and enter the code ${userCode}.`);
  if (verificationUriComplete !== undefined) console.error(`Or open ${verificationUriComplete} and compare the code.`);
  console.error('Enter the code only if you have started this sign-in yourself.');
}

/** `okta: alice (okta:00u1) since 09:00:00, confirmed until 09:01:00` */
export function signInLine({ issuer, login, subject, since, until, failure }: SignInStatus): string {
  const not = failure === undefined ? '' : `; not confirmed: ${failure}`;
  return `Signed in at ${issuer} as ${login} (${subject}) since ${clock(since)}, until ${clock(until)} unless confirmed again${not}`;
}

/** @param at milliseconds since the epoch */
function clock(at: number): string {
  return new Date(at).toISOString().slice(11, 19);
}
