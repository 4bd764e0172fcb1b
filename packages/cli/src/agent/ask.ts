/** Sends requests to the agent that is running in this workspace. */
import type { ApprovalsChange, ApprovalsCommand, ApprovalsList } from '@meshpass/agent/approvals/command';
import { runtimeDirectory, sendControlRequest } from '@meshpass/agent/control/control';
import type { AgentStatus } from '@meshpass/agent/control/status';
import type { ControlRequest } from '@meshpass/agent/control-request';
import type { ApprovalRequest, ApprovalsResponse } from '@meshpass/identity/approval';

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
 * Sends an approvals command to the running agent.
 * @throws MeshpassError `agent_not_running` if there is no agent, or the error that the broker returns
 */
export function sendApprovalsCommand(command: ApprovalsChange): Promise<ApprovalRequest>;
export function sendApprovalsCommand(command: ApprovalsList): Promise<ApprovalsResponse>;
export function sendApprovalsCommand(command: ApprovalsCommand): Promise<unknown> {
  return requestLocalAgent({ command: 'approvals', approvals: command });
}

/**
 * Lists the grants that this workspace can request. Returns an empty list if the agent or the broker does not respond.
 */
export async function listRequestableGrants(): Promise<ApprovalsResponse['requestable']> {
  const overview = await sendApprovalsCommand({ act: 'list' }).catch(() => undefined);
  return overview?.requestable ?? [];
}
