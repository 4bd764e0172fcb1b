import { setTimeout as sleep } from 'node:timers/promises';
import { askAgent, runtimeDirectory } from '@meshpass/agent/control/control';
import type { AgentStatus } from '@meshpass/agent/control/status';
import type { ApprovalOrder, ApprovalRequest } from '@meshpass/identity/approval';
import { MeshpassError, toMeshpassError } from '@meshpass/identity/error';
import { askApprovals } from '../../approvals/agent.ts';
import { readDuration, readReason } from '../../approvals/input.ts';
import { printRequest, requestText } from '../../approvals/text.ts';
import { defineCommand } from '../../command/define.ts';
import { EXIT, type ExitCode } from '../../command/failure.ts';
import { argument, type OptionsOf, text, toggle } from '../../command/flag.ts';
import { AGENT_ENV, output } from '../../command/shared-flags.ts';

const args = { grant: argument('name of the grant; run meshpass requests to list the grants you can request') };
const flags = {
  for: text('<duration>', 'duration, such as 90s, 30m or 2h', { defaultText: 'the value in the access file' }),
  reason: text('<text>', 'reason for the approvers and the audit log'),
  emergency: toggle(
    'take the grant immediately, without approval; another person reviews it afterwards. Requires --reason',
  ),
  wait: toggle('wait for the answer and for the grant to become active'),
  output,
};
/** Poll interval. The broker accepts one query per second per session. */
const POLL_MS = 3_000;

export const command = defineCommand({
  about:
    'Once approved, or immediately with --emergency, this session has the grant until it expires. Your other workspaces do not get the grant.',
  args,
  flags,
  env: AGENT_ENV,
  exitCodes: {
    0: 'requested, or taken; with --wait: the grant is active',
    1: 'rejected; with --wait: denied, withdrawn, not answered in time, or the requesting session has ended',
  },
  examples: [
    'meshpass request payments-prod --for 1h --reason "INC-4711"',
    'meshpass request payments-prod --reason "INC-4711" --wait',
    'meshpass request payments-prod --emergency --reason "INC-4711"',
  ],
  page: 'docs/access/approvals.md',
  run: request,
});

/**
 * Requests a grant.
 * @throws MeshpassError `usage`, `agent_not_running`, `approval_*`, `approvals_too_many`, `emergency_*`
 */
async function request(options: OptionsOf<typeof args & typeof flags>): Promise<ExitCode> {
  const { grant, for: duration, reason, output } = options;
  const order = {
    grant,
    ...(duration !== undefined && { seconds: readDuration(duration, '--for') }),
    ...(reason !== undefined && { reason: readReason(reason) }),
  };
  let asked = options.emergency ? await take(order) : await askApprovals({ act: 'ask', order });
  if (options.wait) {
    if (output === 'text') console.error(requestText(asked, now()));
    asked = await settled(asked);
  }
  printRequest(asked, output);
  if (!options.wait && output === 'text')
    console.log(
      `To see the ${options.emergency ? 'review' : 'answer'}: meshpass requests. To withdraw it: meshpass requests --withdraw ${asked.id}`,
    );
  return options.wait && asked.state !== 'approved' ? EXIT.failed : EXIT.ok;
}

async function take({ reason, ...order }: ApprovalOrder): Promise<ApprovalRequest> {
  if (reason === undefined) throw new MeshpassError('usage', 'An emergency requires a reason. Add --reason.');
  return await askApprovals({ act: 'emergency', order: { ...order, reason } });
}

/**
 * Waits until the request is answered and, if it is approved, until this workspace has the grant's certificate.
 * Survives a broker restart.
 * @throws MeshpassError `approval_unknown` if the session that made the request has ended
 */
async function settled(asked: ApprovalRequest): Promise<ApprovalRequest> {
  for (;;) {
    const found = await look(asked);
    if (found && found.state !== 'pending' && (found.state !== 'approved' || (await isHeld(found.grant)))) return found;
    await sleep(POLL_MS);
  }
}

async function look({ id }: ApprovalRequest): Promise<ApprovalRequest | undefined> {
  let own: readonly ApprovalRequest[];
  try {
    own = (await askApprovals({ act: 'list', scope: 'own' })).own;
  } catch (thrown) {
    if (toMeshpassError(thrown).retryable) return undefined;
    throw thrown;
  }
  const found = own.find((one) => one.id === id);
  if (found) return found;
  throw new MeshpassError(
    'approval_unknown',
    `The requesting session has ended, and request ${id} ended with it. Request the grant again.`,
  );
}

async function isHeld(grant: string): Promise<boolean> {
  const { credentials } = await askAgent<AgentStatus>(runtimeDirectory(process.env), { command: 'status' });
  return credentials.svids.some((one) => one.grant === grant);
}

function now(): number {
  return Math.floor(Date.now() / 1000);
}
