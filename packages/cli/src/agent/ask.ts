/** Requests to the running agent. */
import type { ApprovalsChange, ApprovalsCommand, ApprovalsList } from '@meshpass/agent/approvals/command';
import { askAgent, type ControlRequest, runtimeDirectory } from '@meshpass/agent/control/control';
import type { AgentStatus } from '@meshpass/agent/control/status';
import type { ApprovalRequest, ApprovalsResponse } from '@meshpass/identity/approval';

/**
 * Sends a request to the agent of this environment.
 * @throws MeshpassError `agent_not_running`, or the agent's refusal
 */
export function askOwnAgent<T>(request: ControlRequest): Promise<T> {
  return askAgent<T>(runtimeDirectory(process.env), request);
}

/** @throws MeshpassError `agent_not_running` */
export function agentStatus(): Promise<AgentStatus> {
  return askOwnAgent({ command: 'status' });
}

/**
 * Sends an approvals command to the running agent.
 * @throws MeshpassError `agent_not_running`, or the broker's refusal
 */
export function askApprovals(command: ApprovalsChange): Promise<ApprovalRequest>;
export function askApprovals(command: ApprovalsList): Promise<ApprovalsResponse>;
export function askApprovals(command: ApprovalsCommand): Promise<unknown> {
  return askOwnAgent({ command: 'approvals', approvals: command });
}

/** Lists the grants that this workspace can request, or none if the agent or the broker does not answer. */
export async function requestable(): Promise<ApprovalsResponse['requestable']> {
  const overview = await askApprovals({ act: 'list' }).catch(() => undefined);
  return overview?.requestable ?? [];
}
