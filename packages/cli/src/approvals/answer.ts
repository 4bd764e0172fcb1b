/** Sends answers and reviews, as the person of the workspace's session or as an operator. */
import { type ApprovalsChange, ORDER_PATHS } from '@meshpass/agent/approvals/command';
import { isAgentRunning, runtimeDirectory } from '@meshpass/agent/control/control';
import type { ApprovalRequest } from '@meshpass/identity/approval';
import { MeshpassError } from '@meshpass/identity/error';
import { type OptionsOf, text } from '../command/flag.ts';
import { AGENT_ENV, OPERATOR_ORIGIN, operatorFlags, STATE_ENV } from '../command/shared-flags.ts';
import { readOperatorSession } from '../login/session-file.ts';
import { operatorClient } from '../operator/client.ts';
import { askApprovals } from './agent.ts';

/** Flags that select an operator's identity. */
export const answererFlags = {
  operator: text('<url>', "origin of the broker's operator listener, to answer as an operator", {
    env: 'MESHPASS_OPERATOR',
    defaultText: `the workspace session, or ${OPERATOR_ORIGIN} if no agent is running`,
  }),
  caFile: operatorFlags.caFile,
};
export const ANSWERER_ENV = { ...AGENT_ENV, ...STATE_ENV };

/**
 * Approves or denies a request, or reviews an emergency. Acts as the workspace's session if an agent runs here and the
 * command line names no operator listener.
 * @throws MeshpassError `agent_not_running` if there is neither an agent nor an operator, and the broker's refusals
 */
export async function sendAnswer(
  change: Extract<ApprovalsChange, { readonly act: 'answer' | 'review' }>,
  { operator, caFile }: OptionsOf<typeof answererFlags>,
): Promise<ApprovalRequest> {
  if (operator === undefined && (await isAgentRunning(runtimeDirectory(process.env))))
    return await askApprovals(change);
  if (operator === undefined && !readOperatorSession(OPERATOR_ORIGIN, process.env))
    throw new MeshpassError(
      'agent_not_running',
      'No agent is running and no operator is signed in. Run meshpass up in a workspace, or meshpass login as an operator.',
    );
  const call = operatorClient({ operator: operator ?? OPERATOR_ORIGIN, caFile }, process.env);
  return (await call('POST', `/admin${ORDER_PATHS[change.act]}`, change.order)) as ApprovalRequest;
}
