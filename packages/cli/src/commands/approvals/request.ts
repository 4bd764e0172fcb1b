/** Defines the commands with which a developer requests grants for the current session. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { ApprovalRequest } from '@meshpass/identity/approval';
import { MeshpassError, toMeshpassError } from '@meshpass/identity/error';
import { fetchAgentStatus, sendApprovalsCommand } from '../../agent/ask.ts';
import { formatApprovalsOverview, formatRequest, readRequestId, requestAnswer } from '../../approvals/text.ts';
import { type Answer, printErrorLines } from '../../command/answer.ts';
import { defineCommand } from '../../command/define.ts';
import { EXIT } from '../../command/failure.ts';
import { argument, duration, nonBlankText, type OptionsOf, text, toggle } from '../../command/flag.ts';
import { AGENT_ENV, output } from '../../command/shared-flags.ts';

const args = { grant: argument('name of the grant; run meshpass requests to list the grants you can request') };
const flags = {
  for: duration('<duration>', 'duration, such as 90s, 30m or 2h', { defaultText: 'the value in the access file' }),
  reason: nonBlankText('<text>', 'reason for the approvers and the audit log'),
  emergency: toggle(
    'take the grant immediately, without approval; another person reviews it afterwards. Requires --reason',
  ),
  wait: toggle('wait for the answer and for the grant to become active'),
  output,
};
/** How often to poll for the answer. The broker accepts one query per second from each session. */
const POLL_MS = 3_000;

export const commands = {
  request: defineCommand({
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
  }),
  requests: defineCommand({
    about: "Shows this session's requests, requests you can answer, and grants you can request.",
    flags: { withdraw: text('<id>', 'withdraw this request; the session loses its grant immediately'), output },
    env: AGENT_ENV,
    examples: ['meshpass requests', 'meshpass requests --withdraw 0123456789abcdef01234567'],
    page: 'docs/access/approvals.md',
    run: async ({ withdraw }) => {
      if (withdraw !== undefined)
        return requestAnswer(await sendApprovalsCommand({ act: 'withdraw', order: { id: readRequestId(withdraw) } }));
      const overview = await sendApprovalsCommand({ act: 'list' });
      const { contact } = await fetchAgentStatus();
      return { json: { ...overview, contact }, text: () => formatApprovalsOverview(overview, contact) };
    },
  }),
};

/**
 * Requests a grant.
 * @throws MeshpassError `usage`, `agent_not_running`, `approval_*`, `approvals_too_many`, `emergency_*`
 */
async function request(options: OptionsOf<typeof args & typeof flags>): Promise<Answer> {
  const { grant, for: seconds, reason, emergency, wait, output } = options;
  let asked = await ask({ grant, seconds }, reason, emergency);
  if (wait) {
    if (output === 'text') printErrorLines(...formatRequest(asked).split('\n'));
    asked = await settled(asked);
    return { ...requestAnswer(asked), exit: asked.state === 'approved' ? EXIT.ok : EXIT.failed };
  }
  const next = `To see the ${emergency ? 'review' : 'answer'}: meshpass requests. To withdraw it: meshpass requests --withdraw ${asked.id}`;
  return { json: asked, text: () => `${formatRequest(asked)}\n${next}` };
}

function ask(
  order: { readonly grant: string; readonly seconds: number | undefined },
  reason: string | undefined,
  isEmergency: boolean,
): Promise<ApprovalRequest> {
  if (!isEmergency) return sendApprovalsCommand({ act: 'ask', order: { ...order, reason } });
  if (reason === undefined) throw new MeshpassError('usage', 'An emergency requires a reason. Add --reason.');
  return sendApprovalsCommand({ act: 'emergency', order: { ...order, reason } });
}

/**
 * Waits until the request has been answered. If it is approved, also waits until this workspace has the certificate for
 * the grant. Keeps waiting even if the broker restarts.
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
    own = (await sendApprovalsCommand({ act: 'list', scope: 'own' })).own;
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
  const { credentials } = await fetchAgentStatus();
  return credentials.svids.some((one) => one.grant === grant);
}
