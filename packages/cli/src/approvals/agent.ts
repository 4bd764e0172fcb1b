/** Asks the running agent about requests for approval. */
import type { ApprovalsCommand } from '@meshpass/agent/approvals/command';
import { askAgent, runtimeDirectory } from '@meshpass/agent/control/control';
import type { ApprovalRequest, ApprovalsResponse } from '@meshpass/identity/approval';

/** @throws MeshpassError `agent_not_running`, or why the broker refused */
export function askApprovals(command: Exclude<ApprovalsCommand, { act: 'list' }>): Promise<ApprovalRequest>;
export function askApprovals(command: Extract<ApprovalsCommand, { act: 'list' }>): Promise<ApprovalsResponse>;
export function askApprovals(command: ApprovalsCommand): Promise<unknown> {
  return askAgent(runtimeDirectory(process.env), { command: 'approvals', approvals: command });
}

/** What could be asked for; nothing where the agent or the broker is of a version that has no approvals, or does not answer. */
export async function requestable(): Promise<ApprovalsResponse['requestable']> {
  const overview = await askApprovals({ act: 'list' }).catch(() => undefined);
  return overview?.requestable ?? [];
}
