/** Sends requests to the agent that is running in this workspace, and formats its sign-ins. */
import { runtimeDirectory, sendControlRequest } from '@meshpass/agent/control/control';
import type { AgentStatus } from '@meshpass/agent/control/status';
import type { ApprovalsChange, ControlRequest } from '@meshpass/agent/control-request';
import type { SignInPrompt } from '@meshpass/agent/sign-in/device-flow';
import type { SignInStatus } from '@meshpass/agent/sign-in/sign-ins';
import type { ApprovalRequest, ApprovalsResponse } from '@meshpass/identity/approval';
import type { SignInsResponse } from '@meshpass/identity/sign-in';
import { printErrorLines } from '../command/outcome.ts';

/**
 * Sends a request to the agent that is running in this environment.
 * @throws MeshpassError `agent_not_running` if there is no agent, or the error that the agent returns
 */
export function requestLocalAgent<T>(request: ControlRequest): Promise<T> {
  return sendControlRequest<T>(runtimeDirectory(process.env), request);
}

/**
 * Fetches the status of the running agent.
 * @throws MeshpassError `agent_not_running`
 */
export function fetchAgentStatus(): Promise<AgentStatus> {
  return requestLocalAgent({ command: 'status' });
}

/**
 * Requests, withdraws, answers or reviews a grant on behalf of the workspace session.
 * @throws MeshpassError `agent_not_running` if there is no agent, or the error that the broker returns
 */
export function changeApproval(change: ApprovalsChange): Promise<ApprovalRequest> {
  return requestLocalAgent({ command: 'approvals-change', ...change });
}

/**
 * Lists what the workspace session may request and answer.
 * @param scope `own` to list only the session's own requests
 * @throws MeshpassError `agent_not_running` if there is no agent, or the error that the broker returns
 */
export function listApprovals(scope?: 'own'): Promise<ApprovalsResponse> {
  return requestLocalAgent({ command: 'approvals', scope });
}

/**
 * Lists the grants that this workspace can request. Returns an empty list if the agent or the broker does not respond.
 */
export async function listRequestableGrants(): Promise<ApprovalsResponse['requestable']> {
  const overview = await listApprovals().catch(() => undefined);
  return overview?.requestable ?? [];
}

// Handles sign-ins for the workspace's session. The running agent performs them and keeps the tokens in memory.

/** A grant that the session would gain if the user also signed in at this issuer. */
type MissingSignIn = SignInsResponse['lacking'][number];

/**
 * Lists the grants that only require a sign-in. Returns an empty list if the agent or the broker does not respond, or
 * does not support sign-ins yet.
 */
export async function listMissingSignIns(): Promise<readonly MissingSignIn[]> {
  const asked = requestLocalAgent<{ lacking: readonly MissingSignIn[] }>({ command: 'sign-in-lacking' });
  return (await asked.catch(() => undefined))?.lacking ?? [];
}

/** Formats the missing sign-ins for the output of `explain`. */
export function formatMissingSignIns(lacking: readonly MissingSignIn[]): readonly string[] {
  const lines = lacking.map(
    ({ grant, issuer }) => `  ${grant} requires a sign-in at ${issuer}: meshpass sign-in --issuer ${issuer}`,
  );
  return lines.length === 0 ? [] : ['Grants you would have with a sign-in:', ...lines];
}

/** Prints sign-in instructions to standard error, because standard output is reserved for the command's result. */
export function printPrompt({ issuer, verificationUri, verificationUriComplete, userCode }: SignInPrompt): void {
  printErrorLines(`To sign in at ${issuer}, open ${verificationUri} in any browser and enter the code ${userCode}.`);
  if (verificationUriComplete !== undefined)
    printErrorLines(`Or open ${verificationUriComplete} and compare the code.`);
  printErrorLines('Enter the code only if you started this sign-in yourself.');
}

/**
 * Formats a sign-in as `Signed in at okta as alice (okta:00u1) since 09:00:00, until 09:01:00 unless confirmed again`.
 */
export function formatSignIn({ issuer, login, subject, since, until, failure }: SignInStatus): string {
  const not = failure === undefined ? '' : `; not confirmed: ${failure}`;
  return `Signed in at ${issuer} as ${login} (${subject}) since ${clock(since)}, until ${clock(until)} unless confirmed again${not}`;
}

/**
 * Formats the time of day in UTC as HH:MM:SS.
 * @param at the time in Unix milliseconds
 */
function clock(at: number): string {
  return new Date(at).toISOString().slice(11, 19);
}
