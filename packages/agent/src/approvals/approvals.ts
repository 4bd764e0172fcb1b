/** Requests for approval, as the commands have the agent make them: it has the session's key. The broker decides all of it. */
import { ApprovalRequest, ApprovalsResponse } from '@meshpass/identity/approval';
import type { BrokerClient } from '../session/broker-client.ts';
import type { ApprovalsCommand } from './command.ts';

/** @throws MeshpassError `approval_*`, `approvals_too_many`, `emergency_*`, `request_malformed`, `agent_broker_unreachable` and other refusals of the broker */
export async function approvals(
  client: BrokerClient,
  accessToken: string,
  command: ApprovalsCommand,
): Promise<ApprovalsResponse | ApprovalRequest> {
  switch (command.act) {
    case 'list':
      return await client.ask(
        accessToken,
        { method: 'GET', path: `/approvals${command.scope === undefined ? '' : '?scope=own'}` },
        ApprovalsResponse,
      );
    case 'ask':
      return await client.ask(accessToken, post('/approvals', command.order), ApprovalRequest);
    case 'emergency':
      return await client.ask(accessToken, post('/approvals/emergency', command.order), ApprovalRequest);
    case 'review':
      return await client.ask(accessToken, post('/approvals/review', command.order), ApprovalRequest);
    case 'withdraw':
      return await client.ask(accessToken, post('/approvals/withdraw', { id: command.id }), ApprovalRequest);
    case 'answer':
      return await client.ask(accessToken, post('/approvals/answer', command.order), ApprovalRequest);
  }
}

function post(path: string, json: unknown) {
  return { method: 'POST', path, json } as const;
}
