/** Requests to the running agent about approvals. */
import type { ApprovalsChange, ApprovalsCommand, ApprovalsList } from '@meshpass/agent/approvals/command';
import { askAgent, runtimeDirectory } from '@meshpass/agent/control/control';
import type { ApprovalRequest, ApprovalsResponse } from '@meshpass/identity/approval';

/**
 * Sends an approvals command to the running agent.
 * @throws MeshpassError `agent_not_running`, or the broker's refusal
 */
export function askApprovals(command: ApprovalsChange): Promise<ApprovalRequest>;
export function askApprovals(command: ApprovalsList): Promise<ApprovalsResponse>;
export function askApprovals(command: ApprovalsCommand): Promise<unknown> {
  return askAgent(runtimeDirectory(process.env), { command: 'approvals', approvals: command });
}

/** Lists the grants that this workspace can request, or none if the agent or the broker does not answer. */
export async function requestable(): Promise<ApprovalsResponse['requestable']> {
  const overview = await askApprovals({ act: 'list' }).catch(() => undefined);
  return overview?.requestable ?? [];
}
