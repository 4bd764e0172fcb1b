/**
 * Sends approvals commands to the broker, which makes all decisions. They go through the agent because only the agent
 * has the session's key.
 */
import { ApprovalRequest, ApprovalsResponse } from '@meshpass/identity/approval';
import type { BrokerClient } from '../session/broker-client.ts';
import { type ApprovalsCommand, ORDER_PATHS } from './command.ts';

/**
 * Sends an approvals command.
 * @throws MeshpassError `approval_*`, `approvals_too_many`, `emergency_*`, `request_malformed`,
 *   `agent_broker_unreachable` and the broker's other refusals
 */
export async function approvals(
  client: BrokerClient,
  accessToken: string,
  command: ApprovalsCommand,
): Promise<ApprovalsResponse | ApprovalRequest> {
  if (command.act === 'list') {
    const path = command.scope === undefined ? '/approvals' : `/approvals?scope=${command.scope}`;
    return await client.ask(accessToken, { method: 'GET', path }, ApprovalsResponse);
  }
  const order = { method: 'POST', path: ORDER_PATHS[command.act], json: command.order } as const;
  return await client.ask(accessToken, order, ApprovalRequest);
}
